import { elementCount, type Tensor } from "../tensor/tensor.js";
import { initialMae } from "../training/encoder/initial-mae.js";
import { isPosition } from "../training/encoder/mae-graph.js";
import { stagesOf } from "./cascade.js";
import { runClient } from "./client-process.js";
import { type FedMaeConfig, maeConfigOf } from "./config.js";

/** What a client costs in one round. */
export interface ClientCost {
  readonly name: string;
  readonly blocks: number;
  /** Of encoder and decoder, positions aside; and those of them that are trained. */
  readonly parameters: number;
  readonly trainedParameters: number;
  readonly bytesDown: number;
  readonly bytesUp: number;
  /** Resident memory of its process at its largest, pictures and runtime included. */
  readonly peakBytes: number;
  /** Of computing on one thread. */
  readonly millisecondsPerImage: number;
}

/** Batches that are measured: the first alone would count what is only paid once. */
const BATCHES = 3;

/**
 * Measures a client of a config's mode, and, in its place, one that trains a masked auto-encoder of full depth and the
 * same width: each in a process of its own, on the same pictures. That ratio is what one-block pre-training is for.
 *
 * @param pictures as many as three batches are used
 */
export async function measureClients(
  config: FedMaeConfig,
  images: readonly string[],
  signal?: AbortSignal,
): Promise<{ readonly client: ClientCost; readonly fullDepth: ClientCost }> {
  const last = stagesOf(config.mode, config.depth).at(-1)?.assignment(0);
  const [depth, isTrained] = [last?.depth ?? 1, last?.isTrained ?? (() => true)];
  const some = images.slice(0, BATCHES * config.batchSize);
  return {
    client: await measure(config, `client (${config.mode})`, depth, isTrained, some, signal),
    fullDepth: await measure(config, "full depth", config.depth, () => true, some, signal),
  };
}

async function measure(
  config: FedMaeConfig,
  name: string,
  blocks: number,
  isTrained: (name: string) => boolean,
  images: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ClientCost> {
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
    images,
    minutes: config.clientMinutes,
    signal,
  });
  return {
    name,
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
