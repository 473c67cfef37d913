import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfig } from "../../backbones/config.js";
import { type MaeConfig, maeConfig, maeName } from "../../backbones/encoders/mae.js";
import { encoderPrefix, type VitConfig, vitConfigFromTensors } from "../../backbones/encoders/vit.js";
import { EpalmError } from "../../core/errors.js";
import type { Checkpoint } from "../../formats/checkpoint.js";
import { writeSafetensors } from "../../formats/safetensors.js";
import { Weights } from "../../formats/weights.js";
import { openSource } from "../../model/source-folder.js";
import { imagenetPreprocessorConfig } from "../../preprocessing/image-preprocessing.js";
import { constantSource, floats, formatShape, type Shape, type Tensor } from "../../tensor/tensor.js";

/**
 * A folder in Hugging Face layout (`config.json`, `preprocessor_config.json`, `model.safetensors`) with the published
 * tensor names (those of timm). It holds a masked autoencoder with its decoder, or only a ViT; `epalm build` takes
 * both.
 */
export interface EncoderFolder {
  readonly config: VitConfig | MaeConfig;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/**
 * Writes an encoder as a folder in the form of a public checkpoint, which `epalm build` accepts.
 *
 * @example
 * ```ts
 * import { readEncoderFolder, resizeEncoder, writeEncoderFolder } from "epalm/fedmae";
 * writeEncoderFolder("encoder-384", resizeEncoder(await readEncoderFolder("encoder"), 384));
 * ```
 */
export function writeEncoderFolder(folder: string, { config, tensors }: EncoderFolder): void {
  writeEncoderFiles(folder, config, imagenetPreprocessorConfig(config.image_size), tensors);
}

/**
 * Writes a folder in the same layout for an encoder of any modality.
 *
 * @param config content of the public `config.json`
 * @param preprocessor content of the public `preprocessor_config.json`
 */
export function writeEncoderFiles(
  folder: string,
  config: unknown,
  preprocessor: unknown,
  tensors: ReadonlyMap<string, Tensor>,
): void {
  mkdirSync(folder, { recursive: true });
  const json = (name: string, content: unknown) =>
    writeFileSync(join(folder, name), `${JSON.stringify(content, undefined, 2)}\n`);
  json("config.json", config);
  json("preprocessor_config.json", preprocessor);
  const sources = Array.from(
    tensors,
    ([name, { shape, data }]) => [name, constantSource("float32", shape, data)] as const,
  );
  writeSafetensors(join(folder, "model.safetensors"), sources, { format: "pt" });
}

/** Properties that cannot be derived from the tensors of a checkpoint. */
export interface ReadOptions {
  /** Attention heads of the encoder. Default: that of published encoders of the same width. */
  readonly heads?: number | undefined;
  /** Attention heads of the decoder. Default: 16 for the published width of 512; required for others. */
  readonly decoderHeads?: number | undefined;
}

const MODEL_TYPES: readonly string[] = ["vit_mae", "vit"];

/** Width and attention heads of all published decoders (`models_mae.py`). */
const PUBLISHED_DECODER = { width: 512, heads: 16 };
const PUBLISHED_EPSILON = 1e-6;
const PUBLISHED_MASK_RATIO = 0.75;

/**
 * Reads a masked autoencoder or only its encoder, from a folder written by epalm or by Hugging Face (ViTMAE), or from a
 * single file as saved by facebookresearch/mae (`{model, ...}`, complete or encoder only). The sizes of a single file
 * are derived from its tensors. Separate queries, keys and values are joined. The `fc_norm` of a checkpoint that was
 * fine-tuned on averaged patches replaces the missing `norm`.
 *
 * @throws not_found, invalid_checkpoint, unsupported_architecture; invalid_option if `heads` or `decoderHeads` must be
 * given
 *
 * @example
 * ```ts
 * import { readEncoderFolder } from "epalm/fedmae";
 * const { config, tensors } = await readEncoderFolder("mae", { heads: 12 });
 * ```
 */
export async function readEncoderFolder(path: string, options: ReadOptions = {}): Promise<EncoderFolder> {
  const source = await openSource(path, path);
  try {
    const given = source.config;
    const modelType = given?.model_type;
    if (modelType !== undefined && !MODEL_TYPES.includes(String(modelType))) {
      throw new EpalmError(
        "unsupported_architecture",
        `${path}: 'model_type': expected ${MODEL_TYPES.join(" or ")}, got '${modelType}'`,
      );
    }
    const tensors = namedTensors(source.checkpoint);
    const isFull = tensors.has("decoder_pred.weight");
    const pooled = { epalm_pooling: poolingOf(source.checkpoint, modelType) };
    if (given !== undefined && modelType !== undefined) {
      const config = isFull
        ? parseConfig(maeConfig, { ...pooled, ...given }, path)
        : {
            ...vitConfigFromTensors(shapes(tensors), { heads: Number(given.num_attention_heads) }),
            ...pooled,
            ...vitFields(given),
          };
      return { config, tensors };
    }
    const vit = {
      ...vitConfigFromTensors(shapes(tensors), { heads: options.heads, epsilon: PUBLISHED_EPSILON, path }),
      ...pooled,
    };
    return { config: isFull ? maeConfigFromTensors(vit, tensors, options, path) : vit, tensors };
  } finally {
    source.checkpoint.close();
  }
}

/**
 * The pooling whose states were trained. Masked autoencoders that were not fine-tuned, such as those of
 * facebookresearch/mae without a head, have not trained their class token. Their fine-tuning trains either the mean of
 * the patches, followed by `fc_norm`, or the class token, followed by `norm` and the head.
 */
function poolingOf({ tensors }: Checkpoint, modelType: unknown): "cls" | "mean" {
  const names = Array.from(tensors.keys());
  const has = (pattern: RegExp) => names.some((name) => pattern.test(name));
  if (has(/(^|\.)(fc_norm|decoder_pred)\./) || modelType === "vit_mae") return "mean";
  return modelType === "vit" || has(/(^|\.)(head|classifier)\./) ? "cls" : "mean";
}

function shapes(tensors: ReadonlyMap<string, Tensor>): (name: string) => Shape | undefined {
  return (name) => tensors.get(name)?.shape;
}

function vitFields(given: Readonly<Record<string, unknown>>): Partial<VitConfig> {
  const { layer_norm_eps, hidden_act, epalm_pooling } = given as Partial<VitConfig>;
  return {
    ...(epalm_pooling === undefined ? {} : { epalm_pooling }),
    ...(layer_norm_eps === undefined ? {} : { layer_norm_eps }),
    ...(hidden_act === undefined ? {} : { hidden_act }),
  };
}

function maeConfigFromTensors(
  vit: VitConfig,
  tensors: ReadonlyMap<string, Tensor>,
  { decoderHeads }: ReadOptions,
  path: string,
): MaeConfig {
  const [width = 0] = tensors.get("decoder_embed.weight")?.shape ?? [];
  if (decoderHeads === undefined && width !== PUBLISHED_DECODER.width) {
    throw new EpalmError(
      "invalid_option",
      `decoderHeads: expected the number of attention heads of the decoder of ${path}, because the file does not ` +
        `contain it and no published decoder has a width of ${width}; got nothing`,
    );
  }
  const [inner = 0] = tensors.get("decoder_blocks.0.mlp.fc1.weight")?.shape ?? [];
  let depth = 0;
  while (tensors.has(`decoder_blocks.${depth}.norm1.weight`)) depth++;
  return parseConfig(
    maeConfig,
    {
      ...vit,
      model_type: "vit_mae",
      decoder_hidden_size: width,
      decoder_num_hidden_layers: depth,
      decoder_num_attention_heads: decoderHeads ?? PUBLISHED_DECODER.heads,
      decoder_intermediate_size: inner,
      mask_ratio: PUBLISHED_MASK_RATIO,
      // Not stored in checkpoints; those published for fine-tuning were trained with it.
      norm_pix_loss: true,
    },
    "MAE",
  );
}

/** All tensors of encoder and decoder in memory, under published names, with queries, keys and values joined. */
function namedTensors(checkpoint: Checkpoint): Map<string, Tensor> {
  const prefix = encoderPrefix(checkpoint.tensors.keys(), checkpoint.path);
  const plain = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const hasNorm = Array.from(checkpoint.tensors.keys()).some((name) => maeName(plain(name)) === "norm.weight");
  const rename = (name: string) => maeName(hasNorm ? plain(name) : plain(name).replace(/^fc_norm\./, "norm."));
  const weights = new Weights(checkpoint, { rename });
  const tensors = new Map<string, Tensor>();
  for (const name of weights.names()) {
    const shape = weights.shapeOf(name) ?? [];
    tensors.set(name, { type: "float32", shape, data: weights.take(name, shape).read() });
  }
  return joinedQkv(tensors, checkpoint.path);
}

function joinedQkv(tensors: ReadonlyMap<string, Tensor>, where: string): Map<string, Tensor> {
  const result = new Map<string, Tensor>();
  for (const [name, tensor] of tensors) {
    const [, before, part, kind] = /^(.*\.attn)\.([qkv])\.(weight|bias)$/.exec(name) ?? [];
    if (before === undefined) result.set(name, tensor);
    if (part !== "q") continue;
    const parts = ["q", "k", "v"].map((letter) => tensors.get(`${before}.${letter}.${kind}`));
    const data = new Float32Array(3 * tensor.data.length);
    parts.forEach((value, index) => {
      if (value?.data.length !== tensor.data.length) {
        throw new EpalmError(
          "invalid_checkpoint",
          `${where}: ${before}: expected q, k and v ${kind} of ${formatShape(tensor.shape)}`,
        );
      }
      data.set(floats(value), index * tensor.data.length);
    });
    const [rows = 0, ...inner] = tensor.shape;
    result.set(`${before}.qkv.${kind}`, { type: "float32", shape: [3 * rows, ...inner], data });
  }
  return result;
}
