"""The client: trains a task on its own images, which only its epalm process reads.

The reply consists of the trained tensors, the number of images, the losses, the time and the peak memory.
"""

from logging import ERROR
from pathlib import Path
from tempfile import TemporaryDirectory

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.common.constant import ErrorCode
from flwr.common.logger import log

from epalm_fedmae.epalm import (
    CONFIG,
    FROZEN,
    METRICS,
    TASK_KEY,
    TRAINED,
    UPDATE_KEY,
    EpalmFailed,
    epalm,
    from_record,
    read_file,
    to_record,
    write_file,
)

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains, and clips the update if the server asks for it."""
    frozen = message.content.array_records[FROZEN]
    # Flower's mods for differential privacy expect only what is trained.
    del message.content[FROZEN]

    def trained(message: Message, context: Context) -> Message:
        return _train(message, context, frozen)

    if "clipping_norm" in message.content.config_records[CONFIG]:
        return fixedclipping_mod(message, context, trained)
    return trained(message, context)


def _train(message: Message, context: Context, frozen: ArrayRecord) -> Message:
    arrays = message.content.array_records[TRAINED]
    config = message.content.config_records[CONFIG]
    with TemporaryDirectory(prefix="epalm-") as folder:
        task, update = Path(folder, "task.safetensors"), Path(folder, "update.safetensors")
        tensors = from_record(arrays) | from_record(frozen)
        write_file(task, tensors, {TASK_KEY: str(config["task"])})
        files = ["--task", str(task), "--images", str(context.node_config["images"]), "--output", str(update)]
        try:
            measured = epalm("round-client", *files, "--minutes", str(config["minutes"]))
        except EpalmFailed as failure:
            # The reason may contain the names of images and therefore stays here.
            log(ERROR, "%s", failure)
            reason = "epalm failed; the log of the SuperNode contains the reason"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
        new, header = read_file(update, UPDATE_KEY)
    content = RecordDict(
        {
            # In the order of the request, as Flower's mods require.
            TRAINED: to_record({name: new[name] for name in arrays}),
            METRICS: MetricRecord({"num-examples": measured["examples"], "loss": measured["loss"]}),
            CONFIG: ConfigRecord({"update": header}),
        }
    )
    return Message(content, reply_to=message)
