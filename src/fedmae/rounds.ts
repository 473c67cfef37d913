import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../core/errors.js";
import { whileLocked } from "../core/files/lock-path.js";
import { listImages } from "../training/data/list-images.js";
import { hashOf } from "../training/run-state.js";
import type { MeasuredUpdate } from "./client.js";
import { runClient } from "./client-process.js";
import type { FedMaeConfig } from "./config.js";
import {
  type Answer,
  type CheckedAnswer,
  FederatedRun,
  type PlannedTask,
  type PretrainResult,
  type RoundOutcome,
} from "./federated-run.js";
import { readAggregate, readTask, readUpdate, writeTask, writeUpdate } from "./round-files.js";
import { clientNamesOf } from "./split-clients.js";

/**
 * The rounds of federated pre-training as separate steps on files, for clients on other machines. Whatever carries the
 * files calls `planRound`, lets each client call `trainRound`, and calls `applyRound` with the updates, until the plan
 * says that the run has finished. The state is in the output folder of the config.
 */

/** A task that was written to a file. */
export interface TaskFile {
  /** Name of the client in the config. */
  readonly client: string;
  /** Index of the block that the client trains. */
  readonly block: number;
  readonly path: string;
  /** The server's name of each tensor that the client trains, by the client's name. */
  readonly tensors: Readonly<Record<string, string>>;
}

/** The next round, or the result of a run whose rounds are done. */
export type RoundPlan =
  | ({ readonly finished: true } & PretrainResult)
  | {
      readonly finished: false;
      /** From 1, over all stages. */
      readonly round: number;
      readonly rounds: number;
      readonly minClients: number;
      readonly clientMinutes: number;
      readonly tasks: readonly TaskFile[];
    };

/**
 * Writes the tasks of the next round. It can be called again until the round is applied, and writes the same tasks.
 *
 * @param folder for one file per client, `NAME.safetensors`
 * @throws invalid_option, invalid_checkpoint, not_found, in_use
 *
 * @example
 * ```ts
 * import { planRound, readFedMaeConfig } from "epalm/fedmae";
 * const plan = await planRound(readFedMaeConfig("clients.yaml"), "tasks");
 * if (!plan.finished) for (const { client, path } of plan.tasks) console.log(client, path);
 * ```
 */
export function planRound(config: FedMaeConfig, folder: string): Promise<RoundPlan> {
  return withRun(config, async (run) => {
    if (run.isFinished) return { finished: true, ...run.finish() };
    mkdirSync(folder, { recursive: true });
    const tasks = run.plan().map((planned): TaskFile => {
      const path = fileOf(folder, planned.name);
      writeTask(path, planned.task);
      const { toServer, block } = planned.assignment;
      const tensors = Object.fromEntries(planned.task.trained.map((name) => [name, toServer(name)]));
      return { client: planned.name, block, path, tensors };
    });
    const { minClients, clientMinutes } = config;
    return { finished: false, round: run.done + 1, rounds: run.rounds, minClients, clientMinutes, tasks };
  });
}

/** Files of a client's round. */
export interface ClientRound {
  readonly task: string;
  /** Folder of the client's images, including all folders below it. */
  readonly images: string;
  /** File for the update. */
  readonly output: string;
  /** Default: no limit. */
  readonly minutes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Trains a client's round in a process of its own and writes the update: the trained tensors, the number of images, the
 * losses, the time and the peak memory.
 *
 * @throws not_found, invalid_checkpoint, unsupported_architecture, diverged, aborted, internal; errors of decoding
 *
 * @example
 * ```ts
 * import { trainRound } from "epalm/fedmae";
 * const { loss } = await trainRound({ task: "task.safetensors", images: "scans", output: "update.safetensors" });
 * ```
 */
export async function trainRound({
  task: path,
  images,
  output,
  minutes,
  signal,
}: ClientRound): Promise<MeasuredUpdate> {
  const task = readTask(path);
  const update = await runClient({ task, images: await listImages(images), minutes, signal });
  writeUpdate(output, task, update);
  return update;
}

/** The updates of a round, as files. */
export interface RoundUpdates {
  /** Folder with a file `NAME.safetensors` for each client that returned an update. */
  readonly updates: string;
  /** Why a client returned none, by its name; whoever carries the files knows it. */
  readonly reasons?: Readonly<Record<string, string>> | undefined;
}

/** Which updates of a round can be averaged. */
export interface CheckedRound {
  readonly accepted: readonly { readonly client: string; readonly block: number; readonly examples: number }[];
  readonly leftOut: readonly { readonly client: string; readonly reason: string }[];
}

/**
 * Checks the updates of the next round, so that they can be aggregated elsewhere.
 *
 * @throws as `planRound`
 *
 * @example
 * ```ts
 * import { checkRound, readFedMaeConfig } from "epalm/fedmae";
 * const { leftOut } = await checkRound(readFedMaeConfig("clients.yaml"), { updates: "updates" });
 * ```
 */
export function checkRound(config: FedMaeConfig, updates: RoundUpdates): Promise<CheckedRound> {
  return withRun(config, async (run) => {
    const reports = checkedAnswers(run, updates).map(({ report }) => report);
    return {
      accepted: reports.flatMap((report) => {
        return report.kind === "answered"
          ? [{ client: report.name, block: report.block, examples: report.examples }]
          : [];
      }),
      leftOut: reports.flatMap((report) => {
        return report.kind === "left out" ? [{ client: report.name, reason: report.reason }] : [];
      }),
    };
  });
}

/**
 * Ends the next round: checks the updates, averages them, and saves the weights, the log and the report. After the last
 * round, it writes the encoder.
 *
 * @param attempt number of times that this round has run, from 1
 * @param aggregate file with the new values of all trained tensors under the server's names; then the updates are not
 * averaged
 * @throws as `planRound`; internal if fewer clients than `config.minClients` returned an update in the last attempt
 *
 * @example
 * ```ts
 * import { applyRound, readFedMaeConfig } from "epalm/fedmae";
 * const outcome = await applyRound(readFedMaeConfig("clients.yaml"), { updates: "updates" });
 * if (outcome.kind === "repeat") console.log(outcome.retry.reason);
 * ```
 */
export function applyRound(
  config: FedMaeConfig,
  updates: RoundUpdates,
  { attempt = 1, aggregate }: { readonly attempt?: number; readonly aggregate?: string | undefined } = {},
): Promise<RoundOutcome> {
  return withRun(config, async (run) => {
    const aggregated = aggregate === undefined ? undefined : readAggregate(aggregate);
    const outcome = await run.apply(checkedAnswers(run, updates), attempt, aggregated);
    if (run.isFinished) run.finish();
    return outcome;
  });
}

function withRun<T>(config: FedMaeConfig, use: (run: FederatedRun) => Promise<T>): Promise<T> {
  const names = clientNamesOf(config);
  return whileLocked(config.output, async () => use(await FederatedRun.open(config, names, async () => hashOf(names))));
}

function checkedAnswers(run: FederatedRun, { updates, reasons = {} }: RoundUpdates): CheckedAnswer[] {
  return run.plan().map((planned) => run.check(planned, answerIn(updates, planned, reasons[planned.name])));
}

function answerIn(folder: string, { name, task }: PlannedTask, reason: string | undefined): Answer {
  if (reason !== undefined) return { kind: "none", reason };
  const path = fileOf(folder, name);
  if (!existsSync(path)) return { kind: "none", reason: "returned no update" };
  try {
    return { kind: "update", update: readUpdate(path, task) };
  } catch (error) {
    // The report names the client; the file may be a temporary one.
    return { kind: "none", reason: messageOf(error).replace(`${path}: `, "") };
  }
}

/** Names of clients consist of letters, digits, '.', '_' and '-'. */
function fileOf(folder: string, client: string): string {
  return join(folder, `${client}.safetensors`);
}
