"""Runs epalm as a process, and converts between its safetensors files and the records of Flower."""

import json
import os
import shlex
import subprocess
from logging import INFO
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.common.logger import log
from safetensors import safe_open
from safetensors.numpy import save_file

TASK_KEY = "epalm.fedmae.task"
UPDATE_KEY = "epalm.fedmae.update"

# Names of the records of a message.
TRAINED = "trained"
FROZEN = "frozen"
CONFIG = "config"
METRICS = "metrics"


class EpalmFailed(Exception):
    """epalm ended with an error, which is the message."""


def epalm(*args: str) -> Any:
    """Runs `epalm fedmae`, logs what it notes, and returns the JSON that it prints.

    The variable EPALM is the command, with its arguments.
    """
    command = shlex.split(os.environ.get("EPALM", "epalm"))
    done = subprocess.run(
        [*command, "fedmae", *args, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    notes = done.stderr.strip()
    if done.returncode != 0:
        raise EpalmFailed(notes or f"epalm ended with code {done.returncode}")
    for line in notes.splitlines():
        log(INFO, "%s", line)
    return json.loads(done.stdout)


def read_file(path: Path, key: str) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a file by name, and its header."""
    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, (file.metadata() or {}).get(key, "")


def write_file(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes tensors with a header; safetensors requires contiguous arrays."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata)


def to_record(tensors: dict[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(tensor) for name, tensor in tensors.items()})


def from_record(record: ArrayRecord) -> dict[str, np.ndarray]:
    return {name: array.numpy() for name, array in record.items()}
