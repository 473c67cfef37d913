"""A strategy for models of which each client trains a part."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg, Strategy

from epalm_fedmae.epalm import CONFIG, FROZEN, METRICS, TASK_KEY, TRAINED, from_record, read_file, to_record

PARENTS = ("FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedMedian", "FedTrimmedAvg")


@dataclass
class Task:
    """The task of a client in a round."""

    client: str
    node_id: int
    # Names of the trained tensors on the server, by their names in the task.
    server_names: dict[str, str]
    header: str
    trained: dict[str, np.ndarray]
    frozen: dict[str, np.ndarray]
    message: Message | None = None

    @staticmethod
    def read(planned: dict[str, Any], node_id: int) -> "Task":
        """Reads a task that epalm planned."""
        tensors, header = read_file(Path(planned["path"]), TASK_KEY)
        names = planned["tensors"]
        trained = {name: tensors.pop(name) for name in names}
        return Task(planned["client"], node_id, names, header, trained, tensors)


class FedMae(FedAvg):
    """Averages each block over the clients that trained it, and all other tensors over all clients.

    Flower's strategies require the same tensors in all replies. Each of these groups of tensors therefore has a
    strategy of its own, with its own state.

    Parameters
    ----------
    parent : str
        Name of the strategy of each group, one of `PARENTS`.
    options : dict[str, Any]
        Its arguments.
    clipping_norm : float
        Largest norm of a client's whole update, to which the client clips it. 0: no clipping.
    noise_multiplier : float
        Standard deviation of the Gaussian noise that is added to the sum of the updates, in multiples of the norm.
        With noise, all clients have the same weight.
    """

    def __init__(
        self,
        parent: str = "FedAvg",
        options: dict[str, Any] | None = None,
        clipping_norm: float = 0.0,
        noise_multiplier: float = 0.0,
    ) -> None:
        super().__init__()
        if parent not in PARENTS:
            raise ValueError(f"strategy: expected one of {', '.join(PARENTS)}, got {parent}")
        if noise_multiplier > 0 and clipping_norm <= 0:
            raise ValueError("noise-multiplier: requires a clipping-norm above 0")
        self.new_parent: Callable[[], FedAvg] = lambda: getattr(strategies, parent)(**(options or {}))
        self.clipping_norm = clipping_norm
        self.noise_multiplier = noise_multiplier
        self.parents: dict[frozenset[str], FedAvg] = {}
        self.tasks: list[Task] = []
        self.minutes = 0.0

    def plan(self, tasks: list[Task], minutes: float) -> ArrayRecord:
        """Sets the tasks of the next round; returns the tensors that they train, under the server's names."""
        self.tasks, self.minutes = tasks, minutes
        return to_record({task.server_names[name]: x for task in tasks for name, x in task.trained.items()})

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each task."""
        for names in _groups(arrays):
            current = ArrayRecord({name: arrays[name] for name in sorted(names)})
            self._strategy(names, len(self.tasks)).configure_train(server_round, current, config, grid)
        for task in self.tasks:
            content = RecordDict(
                {
                    TRAINED: to_record(task.trained),
                    FROZEN: to_record(task.frozen),
                    CONFIG: ConfigRecord({**config, "task": task.header, "minutes": self.minutes}),
                }
            )
            task.message = Message(
                content,
                dst_node_id=task.node_id,
                message_type=MessageType.TRAIN,
                # A task is worthless after its round.
                ttl=60 * self.minutes,
                group_id=str(server_round),
            )
        return [task.message for task in self.tasks if task.message is not None]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregates each group; the result has the server's names."""
        by_node = {reply.metadata.src_node_id: reply.content for reply in replies}
        # In the order of the tasks, on which sums of floats depend.
        updates = [(task, by_node[task.node_id]) for task in self.tasks if task.node_id in by_node]
        result: dict[str, np.ndarray] = {}
        metrics = None
        for names in _groups(name for task, _ in updates for name in task.server_names.values()):
            part = [self._reply(task, content, names) for task, content in updates]
            part = [reply for reply in part if reply is not None]
            arrays, metrics = self._strategy(names, len(part)).aggregate_train(server_round, part)
            if arrays is None:
                return None, None
            result |= from_record(arrays)
        return (to_record(result), metrics) if result else (None, None)

    def _strategy(self, names: frozenset[str], clients: int) -> Strategy:
        if names not in self.parents:
            parent = self.new_parent()
            # The nodes are those of the tasks; parents only keep the tensors of the round.
            parent.fraction_train = parent.fraction_evaluate = 0.0
            self.parents[names] = parent
        parent = self.parents[names]
        if self.clipping_norm <= 0:
            return parent
        return DifferentialPrivacyClientSideFixedClipping(
            parent, self.noise_multiplier, self.clipping_norm, num_sampled_clients=clients
        )

    def _reply(self, task: Task, content: RecordDict, names: frozenset[str]) -> Message | None:
        """The part of a reply that belongs to a group, in float64 so that it is rounded only once."""
        given = from_record(content.array_records[TRAINED])
        own = {task.server_names[name]: x.astype(np.float64) for name, x in given.items()}
        part = {name: own[name] for name in sorted(names) if name in own}
        if not part:
            return None
        metrics = dict(content.metric_records[METRICS])
        if self.noise_multiplier > 0:
            metrics["num-examples"] = 1
        return Message(RecordDict({TRAINED: to_record(part), METRICS: MetricRecord(metrics)}), reply_to=task.message)


def _groups(names: Iterable[str]) -> list[frozenset[str]]:
    """The names of each block, and last those that belong to no block."""
    groups: dict[str, set[str]] = {}
    for name in names:
        block = re.match(r"blocks\.\d+\.", name)
        groups.setdefault(block.group() if block else "~", set()).add(name)
    return [frozenset(groups[key]) for key in sorted(groups)]


def strategy_of(config: dict[str, Any]) -> FedMae:
    """The strategy that the run config describes."""
    return FedMae(
        str(config["strategy"]),
        json.loads(str(config["strategy-options"])),
        float(config["clipping-norm"]),
        float(config["noise-multiplier"]),
    )
