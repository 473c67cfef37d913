import { type MaeConfig, maeConfig } from "../backbones/mae.js";
import { at } from "../core/at.js";
import { EpalmError } from "../core/errors.js";
import type { Tensor } from "../tensor/tensor.js";
import type { EncoderFolder } from "../training/encoder/encoder-folder.js";
import { average } from "./aggregate.js";
import type { CascadeMode } from "./config.js";

/**
 * How one-block masked auto-encoders become one encoder of several blocks. What can be read of FedMAE
 * (arXiv 2303.11339) leaves order and shared tensors open; each mode here says what it does with them:
 *
 * - `parallel`: block k has its own group of clients, all on one patch embedding. Each block stands at its index; patch
 *   embedding, class token, final norm and decoder are averaged over all clients.
 * - `greedy`: block k is trained on the frozen output of the blocks before it. Patch embedding and class token are
 *   trained with the first block and frozen afterwards; final norm and decoder go on with each block.
 * - `repeat`: one block, stacked; everything else is its model's.
 *
 * Positions are fixed and the same everywhere.
 */

const BLOCK = /^blocks\.(\d+)\./;

/** A part of a run in which the same tensors are trained, for a number of rounds. */
export interface Stage {
  /** From 0. */
  readonly index: number;
  /** Client number -> what it trains. */
  readonly assignment: (client: number) => Assignment;
}

/** A client's model as a part of the server's. */
export interface Assignment {
  /** Which groups of clients there are: those of one group train the same block. */
  readonly block: number;
  /** Blocks of the client's model. */
  readonly depth: number;
  /** The client's name of a tensor of the server's; undefined for what is not sent. */
  readonly toClient: (name: string) => string | undefined;
  readonly toServer: (name: string) => string;
  /** Whether a tensor, by the client's name, is trained. */
  readonly isTrained: (name: string) => boolean;
}

/** How many blocks the server keeps while a mode trains. */
export function serverDepth(mode: CascadeMode, depth: number): number {
  return mode === "repeat" ? 1 : depth;
}

export function stagesOf(mode: CascadeMode, depth: number): Stage[] {
  switch (mode) {
    case "parallel":
      return [{ index: 0, assignment: (client) => oneBlock(client % depth) }];
    case "repeat":
      return [{ index: 0, assignment: () => oneBlock(0) }];
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

/** Masked auto-encoders, as they are read from their folders, and what they are called in errors. */
export interface CascadeSource extends EncoderFolder {
  readonly path: string;
}

/** What must be the same in all. */
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
 * Stacks checkpoints trained elsewhere, in the order given, each with all of its blocks; one alone is repeated up to
 * `depth` blocks. All other tensors are the mean of the checkpoints'; the decoder only if all have one.
 *
 * @throws invalid_option, naming the checkpoint and the size that differs
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
      `depth: the checkpoints have ${chosen.length} blocks in all, expected ${depth}`,
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

/** Each block's tensors, without the block's number. */
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

/** The masked auto-encoder that a folder must hold where pictures are to be reconstructed. */
export function requireMae({ config, path }: CascadeSource): MaeConfig {
  const parsed = maeConfig.safeParse(config);
  if (parsed.success) return parsed.data;
  throw new EpalmError("invalid_checkpoint", `${path}: has no decoder: expected a whole masked auto-encoder`);
}
