import { existsSync } from "node:fs";
import { join } from "node:path";
import { at } from "../../src/core/at.js";
import { randomStreams, shuffled } from "../../src/core/random.js";
import { average } from "../../src/fedmae/aggregate.js";
import { type Assignment, stagesOf } from "../../src/fedmae/cascade.js";
import { trainLocally } from "../../src/fedmae/client.js";
import { type CascadeMode, maeConfigOf } from "../../src/fedmae/config.js";
import { clientsOf } from "../../src/fedmae/split-clients.js";
import { type EncoderFolder, type FedMaeConfig, readEncoderFolder, writeEncoderFolder } from "../../src/fedmae.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { initialMae } from "../../src/training/encoder/initial-mae.js";
import { isPosition } from "../../src/training/encoder/mae-graph.js";
import type { Measurement } from "../measurement.js";
import { iconClients } from "./icon-clients.js";
import { bySeed, columns, probeSets, rowOf } from "./modes.js";
import { ridgeProbe } from "./ridge-probe.js";
import { configOf, DEPTH, ROUNDS, untrainedEncoder } from "./runs.js";

/**
 * Changes of the modes that the literature on layer-wise federated self-supervision describes, as phases of one run.
 * They are compared here before any of them becomes an option of `epalm fedmae pretrain`.
 */
interface Phase {
  readonly rounds: number;
  readonly assignment: (client: number) => Assignment;
  /** Tensors that clients of this phase do not train, in addition to those that the assignment freezes. */
  readonly frozen?: RegExp;
  /** Probability with which each frozen block is left out of a client's round. */
  readonly dropped?: number;
}

const CLIENTS_PER_ROUND = 3;
const EMBEDDING = /^(patch_embed\.|cls_token)/;
const BLOCK = /^blocks\.(\d+)\./;

const assignmentOf = (mode: CascadeMode, stage = 0) => at(stagesOf(mode, DEPTH), stage).assignment;
const greedyPhases = (...rounds: number[]) =>
  rounds.map((count, block) => ({ rounds: count, assignment: assignmentOf("greedy", block) }));

const remedies: Readonly<Record<string, readonly Phase[]>> = {
  "greedy, more rounds for later blocks": greedyPhases(2, 4, 6),
  // Gradual depth dropout: arXiv 2309.05213.
  "greedy, depth dropout": greedyPhases(4, 4, 4).map((phase) => ({ ...phase, dropped: 0.5 })),
  "parallel, embedding first": [
    { rounds: ROUNDS / 3, assignment: assignmentOf("repeat") },
    { rounds: (2 * ROUNDS) / 3, assignment: assignmentOf("parallel"), frozen: EMBEDDING },
  ],
};

export const fedMaeRemedies: Measurement = {
  summary: "linear probes after changes of the modes that the literature describes",
  async run({ folder: root, say }) {
    const folder = join(root, "fedmae");
    const { training, test } = await probeSets(folder);
    const untrained = await bySeed(async (seed) => ridgeProbe(untrainedEncoder(seed), training, test));
    const rows = [rowOf("untrained", untrained, untrained)];
    for (const name of Object.keys(remedies)) {
      say(`measuring: ${name}`);
      const found = await bySeed(async (seed) => ridgeProbe(await encoderOf(folder, name, seed), training, test));
      rows.push(rowOf(name, found, untrained));
    }
    return [{ title: "linear probe of the last block, one style per client", columns, rows }];
  },
};

/** The encoder after a run, which is kept. */
async function encoderOf(folder: string, name: string, seed: number): Promise<EncoderFolder> {
  const path = join(folder, "remedies", `${name.replaceAll(/\W+/g, "-")}_${seed}`);
  if (!existsSync(path)) {
    const config = configOf(path, await iconClients(folder, "one style per client", seed), { mode: "full", seed });
    writeEncoderFolder(path, {
      config: maeConfigOf(config, DEPTH),
      tensors: await federate(config, remedies[name] ?? []),
    });
  }
  return readEncoderFolder(path);
}

async function federate(config: FedMaeConfig, phases: readonly Phase[]): Promise<ReadonlyMap<string, Tensor>> {
  const clients = await clientsOf(config);
  const weights = new Map(initialMae(maeConfigOf(config, DEPTH), config.seed));
  let number = 0;
  for (const phase of phases) {
    for (let round = 0; round < phase.rounds; round++) {
      const [random = Math.random] = randomStreams(1000 * config.seed + number++, 1);
      const updates = [];
      for (const client of participants(phase, clients.length, random)) {
        const { images } = at(clients, client);
        updates.push(await clientRound(config, phase, { weights, client, images, round, random }));
      }
      for (const [name, tensor] of average(updates)) weights.set(name, tensor);
    }
  }
  return weights;
}

/** As many clients as in the runs of the modes; if clients have different blocks, one of each block. */
function participants({ assignment }: Phase, count: number, random: () => number): number[] {
  const order = shuffled(
    Array.from({ length: count }, (_, client) => client),
    random,
  );
  const blockOf = (client: number) => assignment(client).block;
  const blocks = new Set(order.map(blockOf));
  if (blocks.size === 1) return order.slice(0, CLIENTS_PER_ROUND);
  return Array.from(blocks, (block) =>
    at(
      order.filter((client) => blockOf(client) === block),
      0,
    ),
  );
}

interface ClientRound {
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly client: number;
  readonly images: readonly string[];
  readonly round: number;
  readonly random: () => number;
}

/** What the server averages, under its own names. */
async function clientRound(
  config: FedMaeConfig,
  phase: Phase,
  { weights, client, images, round, random }: ClientRound,
) {
  const { depth, toClient, toServer, isTrained } = phase.assignment(client);
  // Blocks of the client's model that take part; the last one is trained.
  const kept = Array.from({ length: depth }, (_, block) => block).filter(
    (block) => block === depth - 1 || random() >= (phase.dropped ?? 0),
  );
  const own = new Map<string, Tensor>();
  const serverName = new Map<string, string>();
  const trained: string[] = [];
  for (const [name, tensor] of weights) {
    const whole = toClient(name);
    const block = Number(BLOCK.exec(whole ?? "")?.[1] ?? depth - 1);
    if (whole === undefined || !kept.includes(block)) continue;
    const given = whole.replace(BLOCK, `blocks.${kept.indexOf(block)}.`);
    own.set(given, tensor);
    serverName.set(given, toServer(whole));
    if (!isPosition(name) && isTrained(whole) && !phase.frozen?.test(name)) trained.push(given);
  }
  const { localEpochs, batchSize, optimizer, leastArea, mirror } = config;
  const update = await trainLocally(
    {
      config: maeConfigOf(config, kept.length),
      weights: own,
      trained,
      settings: { localEpochs, batchSize, optimizer, leastArea, mirror, proximal: 0 },
      round,
      rounds: phase.rounds,
      seed: Math.floor(random() * 2 ** 31),
    },
    images,
  );
  const named = new Map(Array.from(update.weights, ([name, tensor]) => [serverName.get(name) ?? name, tensor]));
  return { examples: update.examples, weights: named };
}
