"""The server: epalm plans the rounds and keeps the state, Flower carries the messages and averages."""

import itertools
import json
import time
from logging import INFO, WARNING
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.common.constant import ErrorCode
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp

from epalm_fedmae.epalm import CONFIG, TRAINED, UPDATE_KEY, epalm, from_record, write_file
from epalm_fedmae.strategy import FedMae, Task, strategy_of

EXPIRED = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the rounds that are left; the state is in the output folder of epalm's config."""
    strategy = strategy_of(context.run_config)
    config = str(context.run_config["config"])
    while True:
        with TemporaryDirectory(prefix="epalm-") as folder:
            plan = epalm("round-plan", config, "--output", str(Path(folder, "tasks")))
            if plan["finished"]:
                log(INFO, "finished: encoder %s, report %s", plan["encoder"], plan["report"])
                return
            log(INFO, "round %s of %s", plan["round"], plan["rounds"])
            run_round(grid, strategy, config, plan, Path(folder))


def run_round(grid: Grid, strategy: FedMae, config: str, plan: dict[str, Any], folder: Path) -> None:
    """Repeats a round until enough clients have answered; epalm decides how often, and fails after the last time."""
    for attempt in itertools.count(1):
        updates = folder / f"updates-{attempt}"
        updates.mkdir()
        reasons = folder / f"reasons-{attempt}.json"
        replies = exchange(grid, strategy, plan, updates, reasons)
        flags = [config, "--updates", str(updates), "--reasons", str(reasons)]
        accepted = {client["client"] for client in epalm("round-check", *flags)["accepted"]}
        if len(accepted) >= plan["minClients"]:
            accepted_replies = [reply for client, reply in replies.items() if client in accepted]
            arrays, _ = strategy.aggregate_train(plan["round"], accepted_replies)
            if arrays is not None:
                flags += ["--aggregate", str(save(arrays, folder))]
        outcome = epalm("round-apply", *flags, "--attempt", str(attempt))
        if outcome["kind"] == "applied":
            return
        time.sleep(outcome["retry"]["seconds"])


def exchange(
    grid: Grid, strategy: FedMae, plan: dict[str, Any], updates: Path, reasons_file: Path
) -> dict[str, Message]:
    """Sends the tasks, waits, and writes the updates and the reasons why clients returned none, by their names."""
    nodes = {node.name: node.node_id for node in grid.get_nodes()}
    reasons = {task["client"]: "is not connected" for task in plan["tasks"] if task["client"] not in nodes}
    tasks = [Task.read(task, nodes[task["client"]]) for task in plan["tasks"] if task["client"] in nodes]
    replies: dict[str, Message] = {}
    if len(tasks) < plan["minClients"]:
        reasons |= {task.client: "was not asked, because too few clients are connected" for task in tasks}
        tasks = []
    if tasks:
        minutes = plan["clientMinutes"]
        reasons |= {task.client: f"did not answer within {minutes} minutes" for task in tasks}
        arrays = strategy.plan(tasks, minutes)
        messages = strategy.configure_train(plan["round"], arrays, ConfigRecord(), grid)
        clients = {task.node_id: task.client for task in tasks}
        for reply in grid.send_and_receive(messages, timeout=60 * minutes):
            client = clients.get(reply.metadata.src_node_id) or client_of(reply, tasks)
            # Flower's error for a message that has expired says less than the reason above.
            if client is None or (reply.has_error() and reply.error.code in EXPIRED):
                continue
            try:
                write_update(updates / f"{client}.safetensors", reply)
                replies[client] = reply
                del reasons[client]
            except Exception as error:  # A client may send anything.
                reasons[client] = str(error) or type(error).__name__
    for client, reason in reasons.items():
        log(WARNING, "client %s: %s", client, reason)
    reasons_file.write_text(json.dumps(reasons))
    return replies


def client_of(reply: Message, tasks: list[Task]) -> str | None:
    """The client to whose message a reply belongs, if the SuperLink replies in its place."""
    asked = reply.metadata.reply_to_message_id
    return next((task.client for task in tasks if task.message and task.message.metadata.message_id == asked), None)


def write_update(path: Path, reply: Message) -> None:
    """Writes the update in a reply for epalm, which checks it."""
    if reply.has_error():
        raise ValueError(reply.error.reason)
    header = str(reply.content.config_records[CONFIG]["update"])
    write_file(path, from_record(reply.content.array_records[TRAINED]), {UPDATE_KEY: header})


def save(arrays: ArrayRecord, folder: Path) -> Path:
    path = folder / "aggregate.safetensors"
    write_file(path, {name: array.astype("float32") for name, array in from_record(arrays).items()}, {})
    return path
