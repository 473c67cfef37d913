"""Checks the strategy of deploy/flower with its own tasks and replies, without a network. Prints nothing if it is right.

The first argument is the folder of the app.
"""

import sys
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, sys.argv[1])

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.serverapp import strategy as strategies  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

from epalm_fedmae.epalm import METRICS, TRAINED, from_record, to_record  # noqa: E402
from epalm_fedmae.strategy import PARENTS, FedMae, Task, strategy_of  # noqa: E402

# Flower sets these in the process of a ServerApp.
TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
grid = SimpleNamespace(get_node_ids=lambda: [])


def task(node: int, block: int) -> Task:
    names = {"blocks.0.w": f"blocks.{block}.w", "norm": "norm"}
    zeros = {name: np.zeros(2, np.float32) for name in names}
    return Task(f"client-{node}", node, names, "{}", zeros, {"pos_embed": np.ones(3, np.float32)})


def reply(task: Task, block: float, norm: float, examples: int) -> Message:
    tensors = {"blocks.0.w": np.full(2, block, np.float32), "norm": np.full(2, norm, np.float32)}
    metrics = MetricRecord({"num-examples": examples, "loss": 0.5})
    content = RecordDict({TRAINED: to_record(tensors), METRICS: metrics})
    message = Message(content, reply_to=task.message)
    message.metadata.__dict__["_src_node_id"] = task.node_id
    return message


def rounds(strategy: FedMae, values: list[tuple[int, float, float, int]], count: int = 1) -> dict[str, float]:
    """Runs rounds in which client i answers with (its block, values of block and norm, examples)."""
    for number in range(1, count + 1):
        tasks = [task(node, block) for node, (block, _, _, _) in enumerate(values, start=1)]
        arrays = strategy.plan(tasks, 1.0)
        messages = list(strategy.configure_train(number, arrays, ConfigRecord(), grid))
        assert [message.metadata.dst_node_id for message in messages] == [task.node_id for task in tasks]
        assert all("client" not in str(message.content) for message in messages)
        replies = [reply(task, *rest) for task, (_, *rest) in zip(tasks, values, strict=True)]
        # The order of the answers must not matter.
        result, _ = strategy.aggregate_train(number, reversed(replies))
    assert all(array.shape == (2,) for array in from_record(result).values())
    return {name: float(array[0]) for name, array in from_record(result).items()}


def check(found: dict[str, float], **expected: float) -> None:
    for name, value in expected.items():
        key = name.replace("_", ".")
        assert abs(found[key] - value) < 1e-6, (key, found[key], value)
    assert len(found) == len(expected), found


values = [(0, 1.0, 1.0, 1), (1, 2.0, 5.0, 3), (0, 5.0, 2.0, 3)]
check(rounds(FedMae(), values), blocks_0_w=4.0, blocks_1_w=2.0, norm=22 / 7)
check(rounds(FedMae("FedMedian"), values), blocks_0_w=3.0, blocks_1_w=2.0, norm=2.0)
trimmed = [(0, float(value), float(value), 1) for value in (1, 2, 3, 100)]
check(rounds(FedMae("FedTrimmedAvg", {"beta": 0.25}), trimmed), blocks_0_w=2.5, norm=2.5)
# Without momentum and with half the rate: half of the way from 0.
check(rounds(FedMae("FedAvgM", {"server_learning_rate": 0.5}), values), blocks_0_w=2.0, blocks_1_w=1.0, norm=11 / 7)
momentum = FedMae("FedAvgM", {"server_momentum": 0.9})
# The second step adds 0.9 times the first one to the way from 4 back to 4.
check(rounds(momentum, values, count=2), blocks_0_w=4 + 0.9 * 4, blocks_1_w=2 + 0.9 * 2, norm=1.9 * 22 / 7)
for name in ("FedAdam", "FedYogi", "FedAdagrad"):
    found = rounds(FedMae(name, {"eta": 0.01}), values)
    assert all(0 < value < 0.2 for value in found.values()), (name, found)
assert all(hasattr(strategies, name) for name in PARENTS)

# The noise of a block has the scale of its own number of clients, and all clients have the same weight.
config = {"strategy": "FedAvg", "strategy-options": "{}", "clipping-norm": 2.0, "noise-multiplier": 0.5}
private = strategy_of(config)
draws = [rounds(private, values) for _ in range(400)]
for name, mean, clients in (("blocks.0.w", 3.0, 2), ("blocks.1.w", 2.0, 1), ("norm", 8 / 3, 3)):
    numbers = np.array([draw[name] for draw in draws])
    deviation = 0.5 * 2.0 / clients
    assert abs(numbers.std() - deviation) < 0.15 * deviation, (name, numbers.std(), deviation)
    assert abs(numbers.mean() - mean) < 0.25 * deviation, (name, numbers.mean(), mean)

for parent, noise in (("Krum", 0.0), ("FedAvg", 1.0)):
    try:
        FedMae(parent, noise_multiplier=noise)
    except ValueError as error:
        assert str(error).startswith(("strategy: expected one of FedAvg", "noise-multiplier: requires")), error
    else:
        raise AssertionError("no error")
