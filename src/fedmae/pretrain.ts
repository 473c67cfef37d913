import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { at, pickEntries } from "../core/at.js";
import { writeAtomically } from "../core/atomic-write.js";
import { EpalmError, messageOf } from "../core/errors.js";
import { whileLocked } from "../core/lock-path.js";
import { randomStreams, shuffled } from "../core/random.js";
import type { Tensor } from "../tensor/tensor.js";
import { contentHashes } from "../training/data/content-hashes.js";
import { listImages } from "../training/data/list-images.js";
import { writeEncoderFolder } from "../training/encoder/encoder-folder.js";
import { initialMae } from "../training/encoder/initial-mae.js";
import { isPosition } from "../training/encoder/mae-graph.js";
import { reconstruct } from "../training/encoder/reconstruct.js";
import { type Fingerprint, hashOf, readRunState, writeRunState } from "../training/run-state.js";
import { average, checkUpdate } from "./aggregate.js";
import { type Assignment, cascade, copyOfBlock, type Stage, serverDepth, stagesOf } from "./cascade.js";
import { type ClientCost, measureClients } from "./client-cost.js";
import { type ClientRun, type MeasuredUpdate, runClient } from "./client-process.js";
import { type FedMaeConfig, MAX_RETRY_SECONDS, maeConfigOf } from "./config.js";
import { fedMaeReport, type Grid } from "./fedmae-report.js";
import { type ClientReport, RoundLog, type RoundReport } from "./round-log.js";
import { type ClientData, clientsOf } from "./split-clients.js";

const CHECKPOINT_FILE = "checkpoint.safetensors";

/** Images per grid of the report, and number of grids that a run draws. */
const GRID_IMAGES = 6;
const GRIDS = 5;

/** Summary of a run before it starts. */
export interface PretrainPlan {
  readonly clients: readonly { readonly name: string; readonly images: number }[];
  /** Rounds of all stages together. */
  readonly rounds: number;
  readonly resumedFrom: number;
}

/** Callbacks of federated pre-training, and the signal that stops it. */
export interface PretrainHooks {
  readonly signal?: AbortSignal | undefined;
  /** Runs a client's round. Default: in a process of its own. */
  readonly runClient?: ((run: ClientRun) => Promise<MeasuredUpdate>) | undefined;
  readonly onPlan?: ((plan: PretrainPlan) => void) | undefined;
  /** Cost of a client and of one of full depth, measured before the first round. */
  readonly onCost?: ((client: ClientCost, fullDepth: ClientCost) => void) | undefined;
  /** Called with the reason if the cost could not be measured. */
  readonly onUnmeasured?: ((reason: string) => void) | undefined;
  /** Called before a round is repeated because none of its clients returned an update. */
  readonly onRetry?: ((retry: RoundRetry) => void) | undefined;
  readonly onClient?: ((client: ClientReport) => void) | undefined;
  readonly onRound?: ((round: RoundReport) => void) | undefined;
}

/** A round that is repeated. */
export interface RoundRetry {
  /** From 1, over all stages. */
  readonly round: number;
  /** Number of times that the round has run. */
  readonly attempts: number;
  /** Seconds until it runs again. */
  readonly seconds: number;
  /** The first client's name and the reason why it returned no update. */
  readonly reason: string;
}

/** An update that the server can average. */
interface AcceptedUpdate {
  readonly update: MeasuredUpdate;
  readonly assignment: Assignment;
  readonly client: number;
}

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
 * Federated pre-training: in each round, clients train in their own processes, and the server averages their updates;
 * `config.mode` divides the work. At the end, the blocks are stacked. If started again with the same config, it resumes
 * after the last finished round. A client that fails is left out of its round; a round whose clients all fail is
 * repeated up to `config.roundAttempts` times.
 *
 * @throws invalid_data, invalid_option, not_found, in_use, aborted; internal if no client of a round returns an update
 *
 * @example
 * ```ts
 * import { pretrain, readFedMaeConfig } from "epalm/fedmae";
 * await pretrain(readFedMaeConfig("clients.yaml"), { onRound: ({ round }) => console.log(round) });
 * ```
 */
export async function pretrain(config: FedMaeConfig, hooks: PretrainHooks = {}): Promise<PretrainResult> {
  const clients = await clientsOf(config);
  const stages = stagesOf(config.mode, config.depth);
  if (config.mode === "parallel" && clients.length < config.depth) {
    throw new EpalmError(
      "invalid_option",
      `depth: ${config.depth} blocks require at least ${config.depth} clients in mode 'parallel', got ${clients.length}`,
    );
  }
  const samples = config.samples === undefined ? [] : (await listImages(config.samples)).slice(0, GRID_IMAGES);
  const fingerprint = await fingerprintOfRun(config, clients, hooks.signal);
  return whileLocked(config.output, () => new Pretraining(config, clients, stages, samples, fingerprint, hooks).run());
}

class Pretraining {
  readonly #weights: Map<string, Tensor>;
  readonly #log: RoundLog;
  #done: number;

  constructor(
    private readonly config: FedMaeConfig,
    private readonly clients: readonly ClientData[],
    private readonly stages: readonly Stage[],
    private readonly samples: readonly string[],
    private readonly fingerprint: Fingerprint,
    private readonly hooks: PretrainHooks,
  ) {
    const state = readRunState(join(config.output, CHECKPOINT_FILE), fingerprint);
    const depth = serverDepth(config.mode, config.depth);
    this.#weights = new Map(state?.weights ?? initialMae(maeConfigOf(config, depth), config.seed));
    this.#done = state?.step ?? 0;
    // After the checks above, so that a rejected config leaves nothing behind.
    mkdirSync(config.output, { recursive: true });
    this.#log = new RoundLog(join(config.output, "rounds.jsonl"), this.#done);
  }

  async run(): Promise<PretrainResult> {
    const { config, clients, hooks } = this;
    const rounds = this.stages.length * config.rounds;
    hooks.onPlan?.({
      clients: clients.map(({ name, images }) => ({ name, images: images.length })),
      rounds,
      resumedFrom: this.#done,
    });
    if (config.compare && this.#done === 0) await this.#compare();
    while (this.#done < rounds) {
      if (hooks.signal?.aborted) throw stopped();
      this.#startBlock();
      await this.#round(this.#done);
      this.#done++;
      this.#checkpoint();
      if (this.#done % Math.ceil(rounds / GRIDS) === 0 || this.#done === rounds) await this.#drawGrid();
      this.#report();
    }
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

  /** A failure of this measurement does not end the run, because failing clients may be left out of rounds. */
  async #compare(): Promise<void> {
    const { config, clients, hooks } = this;
    try {
      const { client, fullDepth } = await measureClients(config, clients[0]?.images ?? [], hooks.signal);
      hooks.onCost?.(client, fullDepth);
    } catch (error) {
      if (hooks.signal?.aborted) throw error;
      hooks.onUnmeasured?.(messageOf(error));
    }
  }

  /** Repeats the round if all of its clients fail, because the cause may pass: a full disk, too little memory. */
  async #round(number: number): Promise<void> {
    const { config, hooks } = this;
    const round = number + 1;
    for (let attempts = 1; ; attempts++) {
      const { reports, updates } = await this.#attempt(number);
      const report = { round, clients: reports };
      if (updates.length > 0 || attempts === config.roundAttempts) {
        this.#log.add(report);
        this.#aggregate(report, updates);
        hooks.onRound?.(report);
        return;
      }
      const seconds = Math.min(config.retrySeconds * 2 ** (attempts - 1), MAX_RETRY_SECONDS);
      hooks.onRetry?.({ round, attempts, seconds, reason: firstReason(reports) });
      await sleep(seconds * 1000, undefined, hooks.signal ? { signal: hooks.signal } : {}).catch(() => {
        throw stopped();
      });
    }
  }

  async #attempt(number: number): Promise<{ reports: ClientReport[]; updates: AcceptedUpdate[] }> {
    const { config, hooks, clients } = this;
    const stage = at(this.stages, Math.floor(number / config.rounds));
    const queue = this.#participants(number, stage);
    const reports: ClientReport[] = [];
    const updates: AcceptedUpdate[] = [];
    const work = async () => {
      for (let client = queue.shift(); client !== undefined; client = queue.shift()) {
        const assignment = stage.assignment(client);
        const { name } = at(clients, client);
        try {
          const update = await this.#client(number, client, assignment);
          updates.push({ update, assignment, client });
          const { weights: _weights, ...measured } = update;
          reports.push({ kind: "answered", name, block: assignment.block, ...measured });
        } catch (error) {
          if (hooks.signal?.aborted) throw stopped();
          reports.push({ kind: "left out", name, reason: messageOf(error) });
        }
        hooks.onClient?.(at(reports, reports.length - 1));
      }
    };
    await Promise.all(Array.from({ length: config.concurrency ?? availableParallelism() }, work));
    // Float sums depend on the order: use that of the clients instead of that of their answers.
    updates.sort((a, b) => a.client - b.client);
    reports.sort((a, b) => a.name.localeCompare(b.name));
    return { reports, updates };
  }

  async #client(number: number, client: number, assignment: Assignment): Promise<MeasuredUpdate> {
    const { config, hooks } = this;
    const weights = this.#tensorsFor(assignment);
    const trained = Array.from(weights.keys()).filter((name) => !isPosition(name) && assignment.isTrained(name));
    const { localEpochs, batchSize, optimizer, proximal, leastArea, mirror, rounds } = config;
    const update = await (hooks.runClient ?? runClient)({
      task: {
        config: maeConfigOf(config, assignment.depth),
        weights,
        trained,
        settings: { localEpochs, batchSize, optimizer, proximal, leastArea, mirror },
        round: number % rounds,
        rounds,
        seed: seedOf(config.seed, number, client),
      },
      images: this.clients[client]?.images ?? [],
      minutes: config.clientMinutes,
      signal: hooks.signal,
    });
    checkUpdate(update, pickEntries(weights, trained));
    return update;
  }

  #aggregate({ round, clients }: RoundReport, updates: readonly AcceptedUpdate[]): void {
    if (updates.length === 0) {
      const attempts = this.config.roundAttempts === 1 ? "1 attempt" : `${this.config.roundAttempts} attempts`;
      throw new EpalmError(
        "internal",
        `round ${round}: no client returned an update in ${attempts}: ${firstReason(clients)}; rounds.jsonl lists all ` +
          `reasons. Remove the cause and start the same run again, which resumes with round ${round}`,
      );
    }
    const mean = average(
      updates.map(({ update: { examples, weights }, assignment }) => ({
        examples,
        weights: new Map(Array.from(weights, ([name, tensor]) => [assignment.toServer(name), tensor])),
      })),
    );
    for (const [name, tensor] of mean) this.#weights.set(name, tensor);
  }

  /** A sample of each block's clients, which depends only on seed and round. */
  #participants(number: number, stage: Stage): number[] {
    const { participation, seed } = this.config;
    const groups = new Map<number, number[]>();
    this.clients.forEach((_, client) => {
      const { block } = stage.assignment(client);
      groups.set(block, [...(groups.get(block) ?? []), client]);
    });
    const [random = Math.random] = randomStreams(seedOf(seed, number, this.clients.length), 1);
    return Array.from(groups.values()).flatMap((group) => {
      const order = participation < 1 ? shuffled(group, random) : group;
      return order.slice(0, Math.max(1, Math.round(participation * group.length))).sort((a, b) => a - b);
    });
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
        ["rounds", `${this.#done} of ${this.stages.length * config.rounds}`],
        ["seed", String(config.seed)],
      ],
      rounds: this.#log.lines,
      grids: this.#grids(),
    });
    writeAtomically(this.#reportFile, html);
  }
}

/** @param reports of a round without updates */
function firstReason([first]: readonly ClientReport[]): string {
  return first?.kind === "left out" ? `${first.name}: ${first.reason}` : "no client took part";
}

function stopped(): EpalmError {
  return new EpalmError("aborted", "pre-training was stopped; start it again to resume after the last finished round");
}

/** A seed for each client and round, reproducible from the seed of the run. */
function seedOf(seed: number, round: number, client: number): number {
  const digest = createHash("sha256").update(`${seed} ${round} ${client}`).digest();
  return digest.readUIntBE(0, 6);
}

async function fingerprintOfRun(
  config: FedMaeConfig,
  clients: readonly ClientData[],
  signal: AbortSignal | undefined,
): Promise<Fingerprint> {
  const {
    output,
    concurrency,
    clientMinutes,
    roundAttempts,
    retrySeconds,
    samples,
    compare,
    clients: given,
    newBlocks,
    ...settings
  } = config;
  const contents = await contentHashes(
    clients.flatMap(({ images }) => images),
    signal,
  );
  return {
    // Runs that began before this setting existed have random blocks.
    config: newBlocks === "random" ? settings : { ...settings, newBlocks },
    data: hashOf(clients.map(({ name, images }) => [name, images.map((path) => contents.get(path))])),
  };
}
