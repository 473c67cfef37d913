import { EpalmError } from "../../core/errors.js";
import { describeQueueAddress, parseQueueAddress } from "../../server/jobs/queue-address.js";
import { runWorker } from "../../server/jobs/run-worker.js";
import type { CliContext } from "../context.js";
import { type ServedModelFlags, serverConfig } from "../options/server-config.js";
import { note } from "../output/output.js";
import { untilTerminated } from "./until-terminated.js";

export interface WorkerFlags extends ServedModelFlags {
  readonly queue?: string;
  readonly queueName: string;
  readonly mediaFolder?: string;
  readonly rateLimit?: number;
  readonly stalledSeconds: number;
  readonly host?: string;
  readonly port?: number;
}

/** `epalm worker` answers the jobs of a queue. */
export async function worker(flags: WorkerFlags, { environment, signal }: CliContext): Promise<void> {
  const address = queueAddress(flags.queue, environment.server.queue);
  const config = serverConfig(flags, environment, "worker");
  await untilTerminated(signal, (signal) =>
    runWorker({
      config,
      settings: {
        address,
        queueName: flags.queueName,
        mediaFolder: flags.mediaFolder,
        jobsPerSecond: flags.rateLimit,
        stalledSeconds: flags.stalledSeconds,
        listens: flags.port !== undefined,
      },
      signal,
      onReady: (status) => {
        const served = status === undefined ? "" : `; status at ${status}`;
        note(`epalm: answering jobs of '${flags.queueName}' at ${describeQueueAddress(address)}${served}`);
      },
    }),
  );
}

function queueAddress(flag: string | undefined, variable: string | undefined) {
  if (flag !== undefined) return parseQueueAddress(flag, "--queue");
  if (variable !== undefined) return parseQueueAddress(variable, "EPALM_QUEUE");
  throw new EpalmError("invalid_option", "--queue: expected redis://HOST:PORT/DB, here or in EPALM_QUEUE");
}
