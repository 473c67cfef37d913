import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { EpalmError, messageOf } from "../core/errors.js";
import { whileLocked } from "../core/files/lock-path.js";
import { contentHashes } from "../training/data/content-hashes.js";
import { hashOf } from "../training/run-state.js";
import type { MeasuredUpdate } from "./client.js";
import { type ClientCost, measureClients } from "./client-cost.js";
import { type ClientRun, runClient } from "./client-process.js";
import type { FedMaeConfig } from "./config.js";
import {
  type Answer,
  type CheckedAnswer,
  FederatedRun,
  type PlannedTask,
  type PretrainResult,
  type RoundRetry,
} from "./federated-run.js";
import type { ClientReport, RoundReport } from "./round-log.js";
import { type ClientData, clientsOf } from "./split-clients.js";

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
  /** Called before a round is repeated because fewer clients than `config.minClients` returned an update. */
  readonly onRetry?: ((retry: RoundRetry) => void) | undefined;
  readonly onClient?: ((client: ClientReport) => void) | undefined;
  readonly onRound?: ((round: RoundReport) => void) | undefined;
}

/**
 * Federated pre-training: in each round, clients train in their own processes, and the server averages their updates;
 * `config.mode` divides the work. At the end, the blocks are stacked. If started again with the same config, it resumes
 * after the last finished round. A client that fails is left out of its round; a round in which fewer than
 * `config.minClients` return an update is repeated up to `config.roundAttempts` times.
 *
 * @throws invalid_data, invalid_option, not_found, in_use, aborted; internal if too few clients of a round return an
 * update
 *
 * @example
 * ```ts
 * import { pretrain, readFedMaeConfig } from "epalm/fedmae";
 * await pretrain(readFedMaeConfig("clients.yaml"), { onRound: ({ round }) => console.log(round) });
 * ```
 */
export async function pretrain(config: FedMaeConfig, hooks: PretrainHooks = {}): Promise<PretrainResult> {
  const clients = await clientsOf(config);
  const names = clients.map(({ name }) => name);
  return whileLocked(config.output, async () => {
    const run = await FederatedRun.open(config, names, () => hashOfData(clients, hooks.signal));
    return new Pretraining(config, clients, run, hooks).run();
  });
}

class Pretraining {
  constructor(
    private readonly config: FedMaeConfig,
    private readonly clients: readonly ClientData[],
    private readonly federated: FederatedRun,
    private readonly hooks: PretrainHooks,
  ) {}

  async run(): Promise<PretrainResult> {
    const { config, clients, hooks, federated } = this;
    hooks.onPlan?.({
      clients: clients.map(({ name, images }) => ({ name, images: images.length })),
      rounds: federated.rounds,
      resumedFrom: federated.done,
    });
    if (config.compare && federated.done === 0) await this.#compare();
    while (!federated.isFinished) {
      if (hooks.signal?.aborted) throw stopped();
      await this.#round();
    }
    return federated.finish();
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

  /** Repeats the round if too many of its clients fail, because the cause may pass: a full disk, too little memory. */
  async #round(): Promise<void> {
    const { hooks, federated } = this;
    for (let attempts = 1; ; attempts++) {
      const outcome = await federated.apply(await this.#attempt(), attempts);
      if (outcome.kind === "applied") {
        hooks.onRound?.(outcome.round);
        return;
      }
      hooks.onRetry?.(outcome.retry);
      const milliseconds = outcome.retry.seconds * 1000;
      await sleep(milliseconds, undefined, hooks.signal ? { signal: hooks.signal } : {}).catch(() => {
        throw stopped();
      });
    }
  }

  async #attempt(): Promise<CheckedAnswer[]> {
    const { config, hooks, federated } = this;
    const queue = federated.plan();
    const answers: CheckedAnswer[] = [];
    const work = async () => {
      for (let planned = queue.shift(); planned !== undefined; planned = queue.shift()) {
        const answer = federated.check(planned, await this.#answer(planned));
        answers.push(answer);
        hooks.onClient?.(answer.report);
      }
    };
    await Promise.all(Array.from({ length: config.concurrency ?? availableParallelism() }, work));
    return answers;
  }

  async #answer({ task, client }: PlannedTask): Promise<Answer> {
    const { config, hooks, clients } = this;
    try {
      const update = await (hooks.runClient ?? runClient)({
        task,
        images: clients[client]?.images ?? [],
        minutes: config.clientMinutes,
        signal: hooks.signal,
      });
      return { kind: "update", update };
    } catch (error) {
      if (hooks.signal?.aborted) throw stopped();
      return { kind: "none", reason: messageOf(error) };
    }
  }
}

function stopped(): EpalmError {
  return new EpalmError("aborted", "pre-training was stopped; start it again to resume after the last finished round");
}

async function hashOfData(clients: readonly ClientData[], signal: AbortSignal | undefined): Promise<string> {
  const contents = await contentHashes(
    clients.flatMap(({ images }) => images),
    signal,
  );
  return hashOf(clients.map(({ name, images }) => [name, images.map((path) => contents.get(path))]));
}
