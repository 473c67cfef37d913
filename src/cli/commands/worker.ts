import { type Command, InvalidArgumentError } from "commander";
import type { WorkerFlags } from "../actions/worker.js";
import type { CliContext } from "../context.js";
import { integer, someText } from "../options/option-values.js";
import { addServedModelOptions } from "../options/served-model-options.js";
import { styleHeadings } from "../output/colours.js";

const notes = `
The data of a job are the fields of POST /caption or POST /vqa and \`task\`, which is caption or vqa. The medium is base64,
or \`path\`, a file below the media folder. The job returns what the service answers. docs/serving.md describes it.

The queue needs two packages that epalm does not install: npm install bullmq@6 ioredis@5

Environment:
  EPALM_QUEUE     address of the queue; a password in it is not visible in lists of processes
  EPALM_CONFIG    path of the config file
  EPALM_MODELS    model folders, [NAME=]DIR, separated by commas
  EPALM_THREADS   threads for each graph
  EPALM_LOG       log level: trace, debug, info, warn, error or silent

Examples:
  epalm worker --queue redis://localhost:6379/0
  epalm worker --queue rediss://queue.example.org:6380/0 --media-folder uploads --port 9100`;

/** `epalm worker` answers the jobs of a queue. */
export function addWorkerCommand(program: Command, context: CliContext): void {
  const command = program
    .command("worker")
    .summary("answer the jobs of a queue in Redis")
    .description("Answers the jobs of a BullMQ queue in Redis or Valkey until it is stopped with SIGTERM or Ctrl-C.")
    .option("--queue <url>", "redis://HOST:PORT/DB, or rediss:// for TLS (default: EPALM_QUEUE)", someText)
    .option("--queue-name <name>", "name of the queue", queueName, "epalm")
    .option("--media-folder <dir>", "folder with the files that jobs name; without it, jobs contain media", someText)
    .option("--rate-limit <n>", "jobs per second of all workers of the queue together", integer(1, 1_000_000))
    .option("--stalled-seconds <n>", "when to run the job of a killed worker again", integer(1, 3600), 30)
    .option("--host <address>", "address to listen on (default: 127.0.0.1)", someText)
    .option(
      "--port <n>",
      "serve /metrics, /healthz and /readyz on this port; 0 selects a free port",
      integer(0, 65_535),
    );
  addServedModelOptions(command);
  command
    .addHelpText("after", styleHeadings(notes))
    .action(async (flags: WorkerFlags) => (await import("../actions/worker.js")).worker(flags, context));
}

/** BullMQ separates the parts of its keys with colons. */
function queueName(text: string): string {
  if (/^[^:\s]{1,200}$/.test(text)) return text;
  throw new InvalidArgumentError("Expected a name of 1 to 200 characters without colons and spaces.");
}
