import type { Command } from "commander";
import type { ApplyRoundFlags, CheckRoundFlags, PlanRoundFlags, TrainRoundFlags } from "../actions/fedmae-rounds.js";
import type { CliContext } from "../context.js";
import { integer, number } from "../options/option-values.js";
import { examplesOf } from "../output/examples-of.js";

/** A round that runs this often has a cause that does not pass. */
const MAX_ATTEMPTS = 1_000_000;
/** One week; timers of Node are limited to 24 days. */
const MAX_MINUTES = 10_080;

/** The steps of a round of `epalm fedmae pretrain` for clients on other machines. */
export function addRoundCommands(fedmae: Command, context: CliContext): void {
  addPlan(fedmae);
  addClient(fedmae, context);
  addCheck(fedmae);
  addApply(fedmae);
}

function addPlan(fedmae: Command): void {
  fedmae
    .command("round-plan")
    .summary("server: write the tasks of the next round")
    .description(
      "Writes a task for each client of the next round of federated pre-training, for clients on other machines. The config names the clients; the state is in its output folder. After the last round, prints the encoder.",
    )
    .argument("<config>", "YAML or JSON file; docs/fedmae.md lists its keys")
    .requiredOption("-o, --output <dir>", "folder for the tasks, NAME.safetensors for each client")
    .option("--json", "print the plan as JSON")
    .addHelpText("after", examplesOf("epalm fedmae round-plan hospitals.yaml --output tasks --json"))
    .action(async (path: string, flags: PlanRoundFlags) =>
      (await import("../actions/fedmae-rounds.js")).planRoundCommand(path, flags),
    );
}

function addClient(fedmae: Command, context: CliContext): void {
  fedmae
    .command("round-client")
    .summary("client: train a task on local images")
    .description(
      "Trains a task on this machine's images and writes the update: trained tensors, number of images, losses, time and peak memory. Neither the images nor their names are part of it.",
    )
    .requiredOption("--task <file>", "task, as written by round-plan")
    .requiredOption("--images <dir>", "folder of images, including all folders below it")
    .requiredOption("-o, --output <file>", "file for the update")
    .option("--minutes <x>", "stop if training takes longer (default: no limit)", number(0.001, MAX_MINUTES))
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      examplesOf("epalm fedmae round-client --task task.safetensors --images scans --output update.safetensors"),
    )
    .action(async (flags: TrainRoundFlags) =>
      (await import("../actions/fedmae-rounds.js")).trainRoundCommand(flags, context),
    );
}

function addUpdateOptions(command: Command): Command {
  return command
    .argument("<config>", "YAML or JSON file, the same as for round-plan")
    .requiredOption("--updates <dir>", "folder with the update of each client that returned one, NAME.safetensors")
    .option("--reasons <file>", "JSON object: why a client returned no update, by its name");
}

function addCheck(fedmae: Command): void {
  const command = fedmae
    .command("round-check")
    .summary("server: check the updates of a round")
    .description(
      "Checks which updates of the next round can be averaged, for programs that average them themselves. Updates with other tensors or shapes than the task, with NaN or Infinity, or of another task are left out.",
    );
  addUpdateOptions(command)
    .option("--json", "print the result as JSON")
    .addHelpText("after", examplesOf("epalm fedmae round-check hospitals.yaml --updates updates --json"))
    .action(async (path: string, flags: CheckRoundFlags) =>
      (await import("../actions/fedmae-rounds.js")).checkRoundCommand(path, flags),
    );
}

function addApply(fedmae: Command): void {
  const command = fedmae
    .command("round-apply")
    .summary("server: average the updates and end the round")
    .description(
      "Checks the updates of the next round, averages them, and saves weights, log and report. With fewer updates than minClients, the round has to be repeated. After the last round, writes the encoder.",
    );
  addUpdateOptions(command)
    .option("--aggregate <file>", "new values of the trained tensors under the server's names, instead of the mean")
    .option("--attempt <n>", "number of times that this round has run", integer(1, MAX_ATTEMPTS), 1)
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      examplesOf(
        "epalm fedmae round-apply hospitals.yaml --updates updates",
        "epalm fedmae round-apply hospitals.yaml --updates updates --aggregate median.safetensors --json",
      ),
    )
    .action(async (path: string, flags: ApplyRoundFlags) =>
      (await import("../actions/fedmae-rounds.js")).applyRoundCommand(path, flags),
    );
}
