import { dirname, resolve } from "node:path";
import { z } from "zod";
import { parseConfig } from "../backbones/config.js";
import { type MaeConfig, maeConfig } from "../backbones/encoders/mae.js";
import { readConfigFile } from "../core/files/config-file.js";

/**
 * The config file of federated pre-training, YAML or JSON. Unknown keys are errors. Relative paths start at the
 * folder of the file. docs/fedmae.md describes each key. Defaults are those of facebookresearch/mae where it has a
 * corresponding setting.
 */

/** The longest wait before a round is repeated: one day. */
export const MAX_RETRY_SECONDS = 86_400;

const count = z.int().min(1);
const positive = z.number().positive();
const belowOne = z.number().min(0).lt(1);
/** An empty path would resolve to the folder of the config. */
const path = z.string().min(1);
/** The seeds of rounds and clients are derived from the seed of the config. */
const MAX_SEED = 2 ** 32 - 1;

/** Each client runs in its own process in each round; more clients are not practical on one machine. */
const MAX_CLIENTS = 10_000;

const clientName = z.string().regex(/^[\w.-]+$/, "expected letters, digits, '.', '_' and '-'");

const clients = z.union([
  /**
   * Each client has a folder of images, including all folders below it. Only `pretrain` reads the folders; clients on
   * other machines have names alone.
   */
  z
    .array(z.strictObject({ name: clientName, path: path.optional() }))
    .min(1)
    .max(MAX_CLIENTS),
  /** One folder, whose subfolders are divided among the clients by Dirichlet(alpha) (Hsu et al. 2019). */
  z.strictObject({ path, count: count.max(MAX_CLIENTS), alpha: positive.default(0.5) }),
]);

const model = z.strictObject({
  imageSize: count.default(224),
  patchSize: count.default(16),
  width: count.default(768),
  heads: count.default(12),
  /** Width of the feed-forward layer. Default: 4 x width. */
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

export const cascadeModes = ["parallel", "greedy", "repeat", "full"] as const;
export type CascadeMode = (typeof cascadeModes)[number];

/**
 * The schema of the settings of federated pre-training (docs/fedmae.md).
 *
 * @example
 * ```ts
 * import { fedMaeConfigSchema, pretrain } from "epalm/fedmae";
 * const clients = [{ name: "hospital", path: "hospital/images" }];
 * await pretrain(fedMaeConfigSchema.parse({ output: "runs/mae", clients }));
 * ```
 */
export const fedMaeConfigSchema = z.strictObject({
  output: path,
  clients,
  model: model.prefault({}),
  /** How several one-block models become one encoder. */
  mode: z.enum(cascadeModes).default("parallel"),
  /**
   * With `greedy`: the weights with which a block above the first starts. `copy`: those of the trained block below, as
   * in progressive stacking (Gong et al. 2019, ICML) and the weight transfer of LW-FedSSL (arXiv 2401.11647).
   */
  newBlocks: z.enum(["random", "copy"]).default("random"),
  /** Number of blocks of the finished encoder. */
  depth: count,
  /** Rounds of the whole run, or with `greedy` rounds per block. */
  rounds: count,
  /** Epochs that a client trains on its images in a round. */
  localEpochs: count.default(1),
  /** Fraction of the clients (in `parallel`: of each block's clients) that take part in a round. */
  participation: z.number().gt(0).max(1).default(1),
  batchSize: count.default(64),
  optimizer: optimizer.prefault({}),
  /** FedProx's mu: strength of the pull towards the weights at the start of the round. 0, the default: FedAvg. */
  proximal: z.number().min(0).default(0),
  /** Minimum fraction of the area that a random crop keeps. */
  leastArea: z.number().gt(0).max(1).default(0.2),
  mirror: z.boolean().default(true),
  seed: z.int().min(0).max(MAX_SEED).default(0),
  /** Number of clients that run at the same time. Default: one per core. */
  concurrency: count.optional(),
  /** Time limit in minutes; a client that takes longer is left out of the round. */
  clientMinutes: positive.default(60),
  /** Number of clients that must return an update; with fewer, the round is repeated. */
  minClients: count.max(MAX_CLIENTS).default(1),
  /** How often a round runs if too few of its clients return an update; the run then stops and can be resumed. */
  roundAttempts: count.default(3),
  /** Seconds before a round is repeated; doubled for each further time. */
  retrySeconds: z.number().min(0).max(MAX_RETRY_SECONDS).default(30),
  /** Measure a client and one of full depth before the first round, and print both. */
  compare: z.boolean().default(true),
  /** Folder of non-confidential images, whose reconstructions the report shows. */
  samples: path.optional(),
});

/** The settings of federated pre-training, with defaults filled in (docs/fedmae.md). */
export type FedMaeConfig = z.infer<typeof fedMaeConfigSchema>;

/**
 * Reads a config file.
 *
 * @throws not_found; invalid_option, naming the file, the key and the cause
 *
 * @example
 * ```ts
 * import { pretrain, readFedMaeConfig } from "epalm/fedmae";
 * const { encoder } = await pretrain(readFedMaeConfig("clients.yaml"));
 * ```
 */
export function readFedMaeConfig(path: string): FedMaeConfig {
  const config = readConfigFile(path, fedMaeConfigSchema);
  const at = (relative: string) => resolve(dirname(path), relative);
  const { clients: given, samples } = config;
  return {
    ...config,
    output: at(config.output),
    clients: Array.isArray(given)
      ? given.map(({ name, path }) => ({ name, ...(path === undefined ? {} : { path: at(path) }) }))
      : { ...given, path: at(given.path) },
    ...(samples === undefined ? {} : { samples: at(samples) }),
  };
}

/** The masked autoencoder of a config, with the given number of encoder blocks. */
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
      // The reconstruction loss teaches the class token nothing.
      epalm_pooling: "mean",
    },
    "model",
  );
}
