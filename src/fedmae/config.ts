import { dirname, resolve } from "node:path";
import { z } from "zod";
import { parseConfig } from "../backbones/config.js";
import { type MaeConfig, maeConfig } from "../backbones/mae.js";
import { readConfigFile } from "../core/config-file.js";

/**
 * The config file of federated pre-training, YAML or JSON. Unknown keys are errors; relative paths are relative to the
 * file. docs/fedmae.md says what each key does. Defaults are those of facebookresearch/mae, where it has them.
 */

const count = z.int().min(1);
const positive = z.number().positive();
const belowOne = z.number().min(0).lt(1);
/** An empty one would be the config's own folder. */
const path = z.string().min(1);
/** Of every round and client, seeds are derived. */
const MAX_SEED = 2 ** 32 - 1;

/** More would be more processes in a run than any machine is asked to start. */
const MAX_CLIENTS = 10_000;

const clientName = z.string().regex(/^[\w.-]+$/, "expected letters, digits, '.', '_' and '-'");

const clients = z.union([
  /** Each client has a folder of pictures, with all folders in it. */
  z
    .array(z.strictObject({ name: clientName, path }))
    .min(1)
    .max(MAX_CLIENTS),
  /** One folder, whose sub-folders are divided unevenly: Dirichlet(alpha) over the clients (Hsu et al. 2019). */
  z.strictObject({ path, count: count.max(MAX_CLIENTS), alpha: positive.default(0.5) }),
]);

const model = z.strictObject({
  imageSize: count.default(224),
  patchSize: count.default(16),
  width: count.default(768),
  heads: count.default(12),
  /** Of the feed-forward part. Default: 4 x width. */
  inner: count.optional(),
  decoderWidth: count.default(512),
  decoderHeads: count.default(16),
  maskRatio: z.number().gt(0).lt(1).default(0.75),
});

const optimizer = z.strictObject({
  learningRate: positive.default(1.5e-4),
  weightDecay: z.number().min(0).default(0.05),
  beta1: belowOne.default(0.9),
  beta2: belowOne.default(0.95),
  epsilon: positive.default(1e-8),
  warmupRounds: z.number().min(0).default(0),
  clipNorm: positive.optional(),
});

export const cascadeModes = ["parallel", "greedy", "repeat"] as const;
export type CascadeMode = (typeof cascadeModes)[number];

export const fedMaeConfigSchema = z.strictObject({
  output: path,
  clients,
  model: model.prefault({}),
  /** How several one-block models become one encoder. */
  mode: z.enum(cascadeModes),
  /** Blocks of the encoder in the end. */
  depth: count,
  /** Of federation: for `greedy` per block, else in all. */
  rounds: count,
  /** Times that a client goes through its pictures in a round. */
  localEpochs: count.default(1),
  /** Share of the clients (in `parallel`: of each block's) that take part in a round. */
  participation: z.number().gt(0).max(1).default(1),
  batchSize: count.default(64),
  optimizer: optimizer.prefault({}),
  /** FedProx's mu: how strongly clients are held near the round's start. Default 0: FedAvg. */
  proximal: z.number().min(0).default(0),
  /** Share of the area that a random crop has at least. */
  leastArea: z.number().gt(0).max(1).default(0.2),
  mirror: z.boolean().default(true),
  seed: z.int().min(0).max(MAX_SEED).default(0),
  /** Clients that compute at the same time. Default: one per core. */
  concurrency: count.optional(),
  /** A client that takes longer is left out of the round. */
  clientMinutes: positive.default(60),
  /** Measure a client beside one of full depth before the first round, and print both. */
  compare: z.boolean().default(true),
  /** Pictures that belong to nobody's secrets: the report shows how they are reconstructed. */
  samples: path.optional(),
});

export type FedMaeConfig = z.infer<typeof fedMaeConfigSchema>;

/** Reads a config file; throws `not_found` or `invalid_option` with file, key and cause. */
export function readFedMaeConfig(path: string): FedMaeConfig {
  const config = readConfigFile(path, fedMaeConfigSchema);
  const at = (relative: string) => resolve(dirname(path), relative);
  const { clients: given, samples } = config;
  return {
    ...config,
    output: at(config.output),
    clients: Array.isArray(given)
      ? given.map((client) => ({ ...client, path: at(client.path) }))
      : { ...given, path: at(given.path) },
    ...(samples === undefined ? {} : { samples: at(samples) }),
  };
}

/** The masked auto-encoder of `blocks` encoder blocks that a config speaks of. */
export function maeConfigOf({ model: sizes }: FedMaeConfig, blocks: number): MaeConfig {
  return parseConfig(
    maeConfig,
    {
      model_type: "vit_mae",
      image_size: sizes.imageSize,
      patch_size: sizes.patchSize,
      hidden_size: sizes.width,
      num_hidden_layers: blocks,
      num_attention_heads: sizes.heads,
      intermediate_size: sizes.inner ?? 4 * sizes.width,
      layer_norm_eps: 1e-6,
      decoder_hidden_size: sizes.decoderWidth,
      decoder_num_hidden_layers: 1,
      decoder_num_attention_heads: sizes.decoderHeads,
      decoder_intermediate_size: 4 * sizes.decoderWidth,
      mask_ratio: sizes.maskRatio,
      norm_pix_loss: true,
    },
    "model",
  );
}
