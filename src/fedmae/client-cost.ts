import { at } from "../core/at.js";
import { elementCount, type Tensor } from "../tensor/tensor.js";
import { initialMae } from "../training/encoder/initial-mae.js";
import { isPosition } from "../training/encoder/mae-graph.js";
import { type Stage, stagesOf } from "./cascade.js";
import { runClient } from "./client-process.js";
import { type CascadeMode, type FedMaeConfig, maeConfigOf } from "./config.js";

/** Cost of a client in one round. */
export interface ClientCost {
  readonly name: string;
  readonly blocks: number;
  /** Parameters of encoder and decoder without positions, and the trained ones among them. */
  readonly parameters: number;
  readonly trainedParameters: number;
  readonly bytesDown: number;
  readonly bytesUp: number;
  /** Peak resident memory of its process, including images and runtime. */
  readonly peakBytes: number;
  /** Computing time per image on one thread. */
  readonly millisecondsPerImage: number;
}

/** Number of measured batches; the first one alone would include one-off costs. */
const BATCHES = 3;

/**
 * Measures a client in the mode of the config, and for comparison one that trains a masked autoencoder of full depth
 * and the same width. Each runs in its own process on the same images. The ratio shows the benefit of one-block
 * pre-training.
 *
 * @param images at most three batches of them are used
 * @throws as `runClient`
 *
 * @example
 * ```ts
 * import { measureClients, readFedMaeConfig } from "epalm/fedmae";
 * const { client, fullDepth } = await measureClients(readFedMaeConfig("clients.yaml"), ["a.png", "b.png"]);
 * console.log(client.peakBytes / fullDepth.peakBytes);
 * ```
 */
export async function measureClients(
  config: FedMaeConfig,
  images: readonly string[],
  signal?: AbortSignal,
): Promise<{ readonly client: ClientCost; readonly fullDepth: ClientCost }> {
  const measured = async (mode: CascadeMode, name: string) => {
    const stages = stagesOf(mode, config.depth);
    return { ...(await measureClient(config, at(stages, stages.length - 1), images, signal)), name };
  };
  return {
    client: await measured(config.mode, `client (${config.mode})`),
    fullDepth: await measured("full", "full depth"),
  };
}

/** Measures a client in one stage of a mode. */
export async function measureClient(
  config: FedMaeConfig,
  stage: Stage,
  images: readonly string[],
  signal?: AbortSignal,
): Promise<Omit<ClientCost, "name">> {
  const { depth: blocks, isTrained } = stage.assignment(0);
  const mae = maeConfigOf(config, blocks);
  const weights = initialMae(mae, config.seed);
  const learnable = Array.from(weights).filter(([tensor]) => !isPosition(tensor));
  const trained = learnable.filter(([tensor]) => isTrained(tensor));
  const { batchSize, optimizer, proximal, leastArea, mirror } = config;
  const update = await runClient({
    task: {
      config: mae,
      weights,
      trained: trained.map(([tensor]) => tensor),
      settings: { localEpochs: 1, batchSize, optimizer, proximal, leastArea, mirror },
      round: 0,
      rounds: 1,
      seed: config.seed,
    },
    images: images.slice(0, BATCHES * batchSize),
    minutes: config.clientMinutes,
    signal,
  });
  return {
    blocks,
    parameters: parameterCount(learnable),
    trainedParameters: parameterCount(trained),
    bytesDown: update.bytesDown,
    bytesUp: update.bytesUp,
    peakBytes: update.peakBytes,
    millisecondsPerImage: update.milliseconds / update.examples,
  };
}

function parameterCount(tensors: readonly (readonly [string, Tensor])[]): number {
  return tensors.reduce((sum, [, { shape }]) => sum + elementCount(shape), 0);
}
