import { type MaeConfig, maeConfig } from "../backbones/encoders/mae.js";
import { at } from "../core/at.js";
import { EpalmError } from "../core/errors.js";
import type { Tensor } from "../tensor/tensor.js";
import type { EncoderFolder } from "../training/encoder/encoder-folder.js";
import { average } from "./aggregate.js";
import type { CascadeMode } from "./config.js";

/**
 * How one-block masked autoencoders become one encoder of several blocks. The available part of the FedMAE paper
 * (arXiv 2303.11339) does not specify the order of the blocks and the treatment of shared tensors, so each mode defines
 * them:
 *
 * - `parallel`: block k has its own group of clients, and all groups share one patch embedding. Blocks are stacked in
 *   the order of their indices; patch embedding, class token, final norm and decoder are averaged over all clients.
 * - `greedy`: block k is trained on the output of the frozen blocks before it. Patch embedding and class token are
 *   trained with the first block and then frozen; training of the final norm and the decoder continues with each block.
 * - `repeat`: a single block is trained and stacked several times; all other tensors are those of its model.
 * - `full`: no cascade, but what it is compared with: each client trains all blocks together.
 *
 * Positions are fixed and identical everywhere.
 */

const BLOCK = /^blocks\.(\d+)\./;

/** A part of a run in which the same tensors are trained for a number of rounds. */
export interface Stage {
  /** Counted from 0. */
  readonly index: number;
  /** The assignment of a client, by its number. */
  readonly assignment: (client: number) => Assignment;
}

/** Maps the model of a client to that of the server. */
export interface Assignment {
  /** The block that the client trains; clients with the same block form a group. */
  readonly block: number;
  /** Number of blocks of the client's model. */
  readonly depth: number;
  /** The client's name for a tensor of the server; undefined if it is not sent. */
  readonly toClient: (name: string) => string | undefined;
  readonly toServer: (name: string) => string;
  /** Whether the client trains the tensor of this name (the client's name). */
  readonly isTrained: (name: string) => boolean;
}

/** Number of blocks that the server keeps during training. */
export function serverDepth(mode: CascadeMode, depth: number): number {
  return mode === "repeat" ? 1 : depth;
}

export function stagesOf(mode: CascadeMode, depth: number): Stage[] {
  switch (mode) {
    case "parallel":
      return [{ index: 0, assignment: (client) => oneBlock(client % depth) }];
    case "repeat":
      return [{ index: 0, assignment: () => oneBlock(0) }];
    case "full":
      return [{ index: 0, assignment: () => allBlocks(depth) }];
    case "greedy":
      return Array.from({ length: depth }, (_, index) => ({ index, assignment: () => onTopOf(index) }));
    default:
      return mode satisfies never;
  }
}

function oneBlock(block: number): Assignment {
  return {
    block,
    depth: 1,
    toClient(name) {
      const [, index] = BLOCK.exec(name) ?? [];
      if (index === undefined) return name;
      return Number(index) === block ? name.replace(BLOCK, "blocks.0.") : undefined;
    },
    toServer: (name) => name.replace(BLOCK, `blocks.${block}.`),
    isTrained: () => true,
  };
}

function allBlocks(depth: number): Assignment {
  const unchanged = (name: string) => name;
  return { block: 0, depth, toClient: unchanged, toServer: unchanged, isTrained: () => true };
}

function onTopOf(block: number): Assignment {
  return {
    block,
    depth: block + 1,
    toClient(name) {
      const [, index] = BLOCK.exec(name) ?? [];
      return index === undefined || Number(index) <= block ? name : undefined;
    },
    toServer: (name) => name,
    isTrained(name) {
      const [, index] = BLOCK.exec(name) ?? [];
      if (index !== undefined) return Number(index) === block;
      return block === 0 || !/^(patch_embed\.|cls_token)/.test(name);
    },
  };
}

/** The tensors of one block under the names of the next one, of which they become the initial weights. */
export function copyOfBlock(weights: ReadonlyMap<string, Tensor>, block: number): Map<string, Tensor> {
  const [own, next] = [`blocks.${block}.`, `blocks.${block + 1}.`];
  return new Map(
    Array.from(weights)
      .filter(([name]) => name.startsWith(own))
      .map(([name, tensor]) => [name.replace(own, next), tensor]),
  );
}

/** A masked autoencoder read from a folder, with the path for error messages. */
export interface CascadeSource extends EncoderFolder {
  readonly path: string;
}

/** Keys of the config that must be equal in all checkpoints. */
const SAME = [
  "image_size",
  "patch_size",
  "hidden_size",
  "num_attention_heads",
  "intermediate_size",
  "hidden_act",
  "qkv_bias",
] as const;

/**
 * Stacks the blocks of existing checkpoints in the given order; a single checkpoint is repeated up to `depth` blocks.
 * All other tensors are averaged over the checkpoints. The result has a decoder only if all checkpoints have one.
 *
 * @throws invalid_option, naming the checkpoint and the size that differs
 *
 * @example
 * ```ts
 * import { cascade, readEncoderFolder, writeEncoderFolder } from "epalm/fedmae";
 * // One trained block, repeated six times.
 * writeEncoderFolder("encoder", cascade([{ ...(await readEncoderFolder("mae")), path: "mae" }], 6));
 * ```
 */
export function cascade(sources: readonly CascadeSource[], depth?: number): EncoderFolder {
  const [first, ...others] = sources;
  if (!first) throw new EpalmError("invalid_option", "cascade: expected at least one checkpoint");
  for (const other of others) checkSameSizes(first, other);
  const blocks = sources.flatMap(blocksOf);
  const chosen = sources.length === 1 ? repeated(blocks, depth ?? blocks.length) : blocks;
  if (depth !== undefined && chosen.length !== depth) {
    throw new EpalmError(
      "invalid_option",
      `depth: expected ${chosen.length}, the number of blocks in the checkpoints, got ${depth}`,
    );
  }
  const isFull = sources.every(({ tensors }) => tensors.has("decoder_pred.weight"));
  const shared = average(
    sources.map(({ tensors }) => ({
      examples: 1,
      weights: new Map(Array.from(tensors).filter(([name]) => !BLOCK.test(name) && (isFull || !isDecoder(name)))),
    })),
  );
  const tensors = new Map<string, Tensor>(shared);
  chosen.forEach((block, index) => {
    for (const [name, tensor] of block) tensors.set(`blocks.${index}.${name}`, tensor);
  });
  return { config: { ...first.config, num_hidden_layers: chosen.length }, tensors };
}

function isDecoder(name: string): boolean {
  return /^(decoder_|mask_token)/.test(name);
}

function repeated<T>(blocks: readonly T[], depth: number): T[] {
  return Array.from({ length: depth }, (_, index) => at(blocks, index % blocks.length));
}

/** The tensors of each block, by their names without the prefix of the block. */
function blocksOf({ config, tensors }: EncoderFolder): Map<string, Tensor>[] {
  return Array.from({ length: config.num_hidden_layers }, (_, index) => {
    const prefix = `blocks.${index}.`;
    const own = Array.from(tensors).filter(([name]) => name.startsWith(prefix));
    return new Map(own.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
  });
}

function checkSameSizes(first: CascadeSource, other: CascadeSource): void {
  for (const key of SAME) {
    if (first.config[key] === other.config[key]) continue;
    throw new EpalmError(
      "invalid_option",
      `${other.path}: ${key}: expected ${first.config[key]} as in ${first.path}, got ${other.config[key]}`,
    );
  }
  for (const [name, { shape }] of other.tensors) {
    const same = first.tensors.get(name);
    if (same && same.shape.join() !== shape.join()) {
      throw new EpalmError(
        "invalid_option",
        `${other.path}: ${name}: expected [${same.shape}] as in ${first.path}, got [${shape}]`,
      );
    }
  }
}

/**
 * The config of a masked autoencoder with its decoder, as needed to reconstruct images.
 *
 * @throws invalid_checkpoint if there is no decoder
 *
 * @example
 * ```ts
 * import { readEncoderFolder, requireMae } from "epalm/fedmae";
 * const config = requireMae({ ...(await readEncoderFolder("mae")), path: "mae" });
 * ```
 */
export function requireMae({ config, path }: CascadeSource): MaeConfig {
  const parsed = maeConfig.safeParse(config);
  if (parsed.success) return parsed.data;
  throw new EpalmError("invalid_checkpoint", `${path}: has no decoder: expected a complete masked autoencoder`);
}
