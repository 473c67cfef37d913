import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { at, pickEntries } from "../core/at.js";
import { EpalmError, messageOf } from "../core/errors.js";
import { writeAtomically } from "../core/files/atomic-write.js";
import { randomStreams, shuffled } from "../core/random.js";
import type { Tensor } from "../tensor/tensor.js";
import { listImages } from "../training/data/list-images.js";
import { writeEncoderFolder } from "../training/encoder/encoder-folder.js";
import { initialMae } from "../training/encoder/initial-mae.js";
import { isPosition } from "../training/encoder/mae-graph.js";
import { reconstruct } from "../training/encoder/reconstruct.js";
import { type Fingerprint, readRunState, writeRunState } from "../training/run-state.js";
import { average, checkTensors, checkUpdate } from "./aggregate.js";
import { type Assignment, cascade, copyOfBlock, type Stage, serverDepth, stagesOf } from "./cascade.js";
import type { ClientTask, MeasuredUpdate } from "./client.js";
import { type FedMaeConfig, MAX_RETRY_SECONDS, maeConfigOf } from "./config.js";
import { fedMaeReport, type Grid } from "./fedmae-report.js";
import { type ClientReport, RoundLog, type RoundReport } from "./round-log.js";

const CHECKPOINT_FILE = "checkpoint.safetensors";

/** Images per grid of the report, and number of grids that a run draws. */
const GRID_IMAGES = 6;
const GRIDS = 5;

/** The task of a client in the next round. */
export interface PlannedTask {
  /** Number of the client, from 0 in the order of the config. */
  readonly client: number;
  readonly name: string;
  readonly task: ClientTask;
  readonly assignment: Assignment;
}

/** What came back for a task: an update, or the reason why there is none. */
export type Answer =
  | { readonly kind: "update"; readonly update: MeasuredUpdate }
  | { readonly kind: "none"; readonly reason: string };

/** An answer after its check; only updates that can be averaged are kept. */
export interface CheckedAnswer {
  readonly planned: PlannedTask;
  readonly report: ClientReport;
  readonly update?: MeasuredUpdate | undefined;
}

/** A round that is repeated because fewer clients than `minClients` returned an update. */
export interface RoundRetry {
  /** From 1, over all stages. */
  readonly round: number;
  /** Number of times that the round has run. */
  readonly attempts: number;
  /** Clients that returned an update. */
  readonly updates: number;
  /** Seconds until it runs again. */
  readonly seconds: number;
  /** The first client's name and the reason why it returned no update. */
  readonly reason: string;
}

/** What became of a round. */
export type RoundOutcome =
  | { readonly kind: "applied"; readonly round: RoundReport }
  | { readonly kind: "repeat"; readonly retry: RoundRetry };

/** The pre-trained encoder, its blocks and the log of the rounds. */
export interface PretrainResult {
  /** Folder of the cascaded encoder and its decoder, for `epalm build --encoder`. */
  readonly encoder: string;
  /** Folders of the one-block models; empty in the modes `greedy` and `full`. */
  readonly blocks: readonly string[];
  readonly report: string;
  readonly rounds: readonly RoundReport[];
}

/**
 * The server's side of federated pre-training: plans the tasks of a round, checks and averages the updates, and keeps
 * everything that a later process needs in the output folder of the config. How tasks reach the clients is up to the
 * caller, which must hold the lock of the folder.
 */
export class FederatedRun {
  readonly #weights: Map<string, Tensor>;
  readonly #log: RoundLog;
  #done: number;

  private constructor(
    private readonly config: FedMaeConfig,
    private readonly clients: readonly string[],
    private readonly stages: readonly Stage[],
    private readonly samples: readonly string[],
    private readonly fingerprint: Fingerprint,
  ) {
    const state = readRunState(join(config.output, CHECKPOINT_FILE), fingerprint);
    const depth = serverDepth(config.mode, config.depth);
    this.#weights = new Map(state?.weights ?? initialMae(maeConfigOf(config, depth), config.seed));
    this.#done = state?.step ?? 0;
    // After the checks above, so that a rejected config leaves nothing behind.
    mkdirSync(config.output, { recursive: true });
    this.#log = new RoundLog(join(config.output, "rounds.jsonl"), this.#done);
  }

  /**
   * Starts a run, or resumes it after its last finished round.
   *
   * @param clients names, in the order of the config
   * @param data hash of everything that identifies the clients' data
   * @throws invalid_option, invalid_checkpoint, not_found; the errors of `data`
   */
  static async open(config: FedMaeConfig, clients: readonly string[], data: () => Promise<string>) {
    if (config.mode === "parallel" && clients.length < config.depth) {
      throw new EpalmError(
        "invalid_option",
        `depth: ${config.depth} blocks require at least ${config.depth} clients in mode 'parallel', got ${clients.length}`,
      );
    }
    const stages = stagesOf(config.mode, config.depth);
    const samples = config.samples === undefined ? [] : (await listImages(config.samples)).slice(0, GRID_IMAGES);
    const fingerprint = { config: settingsOf(config), data: await data() };
    return new FederatedRun(config, clients, stages, samples, fingerprint);
  }

  /** Rounds of all stages together. */
  get rounds(): number {
    return this.stages.length * this.config.rounds;
  }

  /** Number of finished rounds. */
  get done(): number {
    return this.#done;
  }

  get isFinished(): boolean {
    return this.#done >= this.rounds;
  }

  /** The tasks of the next round; the same each time until the round is applied. */
  plan(): PlannedTask[] {
    this.#startBlock();
    const { config, clients } = this;
    const { localEpochs, batchSize, optimizer, proximal, leastArea, mirror, rounds } = config;
    const stage = at(this.stages, Math.floor(this.#done / rounds));
    return this.#participants(stage).map((client) => {
      const assignment = stage.assignment(client);
      const weights = this.#tensorsFor(assignment);
      return {
        client,
        name: at(clients, client),
        assignment,
        task: {
          config: maeConfigOf(config, assignment.depth),
          weights,
          trained: Array.from(weights.keys()).filter((name) => !isPosition(name) && assignment.isTrained(name)),
          settings: { localEpochs, batchSize, optimizer, proximal, leastArea, mirror },
          round: this.#done % rounds,
          rounds,
          seed: seedOf(config.seed, this.#done, client),
        },
      };
    });
  }

  /** Decides whether an answer takes part in the average, and why not. */
  check(planned: PlannedTask, answer: Answer): CheckedAnswer {
    const { name, task, assignment } = planned;
    const leftOut = (reason: string): CheckedAnswer => ({ planned, report: { kind: "left out", name, reason } });
    if (answer.kind === "none") return leftOut(answer.reason);
    try {
      checkUpdate(answer.update, pickEntries(task.weights, task.trained));
    } catch (error) {
      return leftOut(messageOf(error));
    }
    const { weights: _weights, ...measured } = answer.update;
    const report = { kind: "answered", name, block: assignment.block, ...measured } as const;
    return { planned, report, update: answer.update };
  }

  /**
   * Ends a round: averages the updates and saves the result, the log and the report.
   *
   * @param attempts number of times that this round has run
   * @param aggregate the new values of the trained tensors under the server's names, if someone else averaged them
   * @throws internal if too few clients returned an update in the last attempt; invalid_checkpoint if the aggregate has
   * other tensors than the updates
   */
  async apply(
    answers: readonly CheckedAnswer[],
    attempts: number,
    aggregate?: ReadonlyMap<string, Tensor>,
  ): Promise<RoundOutcome> {
    const { roundAttempts, minClients } = this.config;
    // Float sums depend on the order: use that of the clients instead of that of their answers.
    const ordered = answers.toSorted((a, b) => a.planned.client - b.planned.client);
    const clients = ordered.map(({ report }) => report).sort((a, b) => a.name.localeCompare(b.name));
    const report = { round: this.#done + 1, clients };
    const updates = ordered.flatMap(({ update, planned }) => (update ? [contributionOf(update, planned)] : []));
    const isEnough = updates.length >= minClients;
    if (!isEnough && attempts < roundAttempts) return { kind: "repeat", retry: this.#retry(report, attempts, updates) };
    if (aggregate !== undefined)
      checkTensors(aggregate, new Map(updates.flatMap(({ weights }) => Array.from(weights))));
    this.#log.add(report);
    if (!isEnough) throw tooFewUpdates(report, updates.length, this.config);
    for (const [name, tensor] of aggregate ?? average(updates)) this.#weights.set(name, tensor);
    this.#done++;
    this.#checkpoint();
    if (this.#done % Math.ceil(this.rounds / GRIDS) === 0 || this.isFinished) await this.#drawGrid();
    this.#report();
    return { kind: "applied", round: report };
  }

  /** Writes the encoder and its blocks after the last round. */
  finish(): PretrainResult {
    const { config } = this;
    const blocks = this.#writeBlocks();
    const encoder = join(config.output, "mae");
    writeEncoderFolder(encoder, {
      config: maeConfigOf(config, config.depth),
      tensors: config.mode === "repeat" ? this.#repeated() : this.#weights,
    });
    this.#report();
    return { encoder, blocks, report: this.#reportFile, rounds: this.#log.lines };
  }

  /** Before the first round of a stage. It is repeated if this round is, with the same result. */
  #startBlock(): void {
    const { newBlocks, rounds } = this.config;
    const block = this.#done / rounds;
    if (newBlocks !== "copy" || this.stages.length === 1 || block === 0 || !Number.isInteger(block)) return;
    for (const [name, tensor] of copyOfBlock(this.#weights, block - 1)) this.#weights.set(name, tensor);
  }

  #retry({ round, clients }: RoundReport, attempts: number, { length: updates }: readonly unknown[]): RoundRetry {
    const seconds = Math.min(this.config.retrySeconds * 2 ** (attempts - 1), MAX_RETRY_SECONDS);
    return { round, attempts, updates, seconds, reason: firstReason(clients) };
  }

  /** A sample of each block's clients, which depends only on seed and round. */
  #participants(stage: Stage): number[] {
    const { participation, seed } = this.config;
    const groups = new Map<number, number[]>();
    this.clients.forEach((_, client) => {
      const { block } = stage.assignment(client);
      groups.set(block, [...(groups.get(block) ?? []), client]);
    });
    const [random = Math.random] = randomStreams(seedOf(seed, this.#done, this.clients.length), 1);
    const sampled = Array.from(groups.values()).flatMap((group) => {
      const order = participation < 1 ? shuffled(group, random) : group;
      return order.slice(0, Math.max(1, Math.round(participation * group.length)));
    });
    return sampled.sort((a, b) => a - b);
  }

  #checkpoint(): void {
    writeRunState(join(this.config.output, CHECKPOINT_FILE), {
      step: this.#done,
      fingerprint: this.fingerprint,
      weights: this.#weights,
      moments: new Map(),
    });
  }

  #repeated(): ReadonlyMap<string, Tensor> {
    const config = maeConfigOf(this.config, 1);
    return cascade([{ path: "server", config, tensors: this.#weights }], this.config.depth).tensors;
  }

  /** Writes the one-block models with their decoders, for reconstruction and for `cascade`. */
  #writeBlocks(): string[] {
    const { mode, depth, output } = this.config;
    if (mode === "greedy" || mode === "full") return [];
    return Array.from({ length: serverDepth(mode, depth) }, (_, block) => {
      const folder = join(output, "blocks", String(block));
      const assignment = at(this.stages, this.stages.length - 1).assignment(block);
      writeEncoderFolder(folder, {
        config: maeConfigOf(this.config, 1),
        tensors: this.#tensorsFor(assignment),
      });
      return folder;
    });
  }

  /** The tensors that a client receives, under the client's names. */
  #tensorsFor({ toClient }: Assignment): Map<string, Tensor> {
    return new Map(
      Array.from(this.#weights).flatMap(([name, tensor]) => {
        const given = toClient(name);
        return given === undefined ? [] : [[given, tensor] as const];
      }),
    );
  }

  async #drawGrid(): Promise<void> {
    if (this.samples.length === 0) return;
    const stage = at(this.stages, Math.floor((this.#done - 1) / this.config.rounds));
    const assignment = stage.assignment(0);
    const config = maeConfigOf(this.config, assignment.depth);
    const { png } = await reconstruct(config, this.#tensorsFor(assignment), this.samples, this.config.seed);
    mkdirSync(this.#gridFolder, { recursive: true });
    writeFileSync(join(this.#gridFolder, `${String(this.#done).padStart(5, "0")}.png`), png);
  }

  get #gridFolder(): string {
    return join(this.config.output, "grids");
  }

  /** All grids of the run, including those of earlier sessions. */
  #grids(): Grid[] {
    if (!existsSync(this.#gridFolder)) return [];
    return readdirSync(this.#gridFolder)
      .sort()
      .map((name) => ({
        title: `after round ${Number.parseInt(name, 10)}`,
        png: readFileSync(join(this.#gridFolder, name)),
      }));
  }

  get #reportFile(): string {
    return join(this.config.output, "report.html");
  }

  #report(): void {
    const { config, clients } = this;
    const html = fedMaeReport({
      title: `FedMAE: ${basename(config.output)}`,
      facts: [
        ["mode", config.mode],
        ["blocks", String(config.depth)],
        ["clients", String(clients.length)],
        ["rounds", `${this.#done} of ${this.rounds}`],
        ["seed", String(config.seed)],
      ],
      rounds: this.#log.lines,
      grids: this.#grids(),
    });
    writeAtomically(this.#reportFile, html);
  }
}

function firstReason(reports: readonly ClientReport[]): string {
  const first = reports.find(({ kind }) => kind === "left out");
  return first?.kind === "left out" ? `${first.name}: ${first.reason}` : "no other client took part";
}

function contributionOf({ examples, weights }: MeasuredUpdate, { assignment }: PlannedTask) {
  return { examples, weights: new Map(Array.from(weights, ([name, tensor]) => [assignment.toServer(name), tensor])) };
}

function tooFewUpdates(
  { round, clients }: RoundReport,
  updates: number,
  { roundAttempts, minClients }: FedMaeConfig,
): EpalmError {
  const attempts = roundAttempts === 1 ? "1 attempt" : `${roundAttempts} attempts`;
  const what =
    updates === 0
      ? "no client returned an update"
      : `${updates} clients returned an update, expected at least ${minClients} ('minClients'),`;
  return new EpalmError(
    "internal",
    `round ${round}: ${what} in ${attempts}: ${firstReason(clients)}; rounds.jsonl lists all ` +
      `reasons. Remove the cause and start the same run again, which resumes with round ${round}`,
  );
}

/** A seed for each client and round, reproducible from the seed of the run. */
function seedOf(seed: number, round: number, client: number): number {
  const digest = createHash("sha256").update(`${seed} ${round} ${client}`).digest();
  return digest.readUIntBE(0, 6);
}

/** The settings that affect the weights, for the fingerprint of the run. */
function settingsOf(config: FedMaeConfig): unknown {
  const {
    output,
    concurrency,
    clientMinutes,
    minClients,
    roundAttempts,
    retrySeconds,
    samples,
    compare,
    clients,
    newBlocks,
    ...settings
  } = config;
  // Runs that began before this setting existed have random blocks.
  return newBlocks === "random" ? settings : { ...settings, newBlocks };
}
