import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, posix, resolve } from "node:path";
import type { Adapter } from "../adapter/adapter.js";
import { readAdapter, writeAdapter } from "../adapter/adapter-file.js";
import { decoderGraph } from "../adapter/decoder-graph.js";
import { encoderGraph } from "../backbones/encoders/encoder-graph.js";
import { ParameterReader } from "../backbones/parameters.js";
import { decoderArchitecture } from "../backbones/registry.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Precision } from "../core/precision.js";
import { wrapperPrefix } from "../formats/prefix.js";
import { Weights } from "../formats/weights.js";
import { GraphBuilder } from "../graph/builder.js";
import { inPrecision } from "../graph/in-precision.js";
import type { Graph } from "../graph/ir.js";
import { writeOnnx } from "../graph/onnx-writer.js";
import { elementCount } from "../tensor/tensor.js";
import { addAnswerToken, firstFreeToken, prepareTokenizer, type TokenizerFiles } from "../tokenizer/tokenizer-files.js";
import {
  type AdapterOptions,
  type BuildOptions,
  checkNames,
  type DecoderOptions,
  type EncoderOptions,
  type SourceReference,
  VLM_ADAPTER,
  type VlmBuildOptions,
  type VlmOptions,
} from "./build-options.js";
import { preprocessingOf } from "./encoder-preprocessing.js";
import { type Encoders, encoderOf } from "./encoders.js";
import { frozenDecoder } from "./frozen-decoder.js";
import {
  type AdapterManifest,
  type DecoderManifest,
  type EncoderManifest,
  MANIFEST_FILE,
  type Manifest,
  manifestSchema,
} from "./manifest.js";
import { checkFits, fileSha256, openModelFolder } from "./model-folder.js";
import { withPatchGraph } from "./patch-graph.js";
import { readEncoder } from "./read-encoder.js";
import { openSource, type Source } from "./source-folder.js";
import { ANSWER_TOKEN, publishedTasks } from "./tasks.js";
import { textBounds } from "./text-bounds.js";
import { splitVlm } from "./vlm/split-vlm.js";
import { readChatTemplate, writePrompts } from "./vlm/vlm-prompts.js";

/**
 * Builds a model folder from public checkpoints. Weights are copied from file to file, one tensor at a time. The folder
 * gets its final name only when it is complete.
 *
 * @throws invalid_checkpoint, unsupported_architecture, invalid_adapter, not_found, invalid_option
 *
 * @example
 * ```ts
 * import { buildModel, resolveFolder } from "epalm";
 * const source = async (id: string) => ({ path: await resolveFolder(id), given: id, precision: "int8" as const });
 * await buildModel({
 *   output: "my-model",
 *   encoder: { ...(await source("google/vit-base-patch16-224")), preprocessing: "published" },
 *   decoder: await source("facebook/opt-125m"),
 *   adapters: [],
 * });
 * ```
 */
export function buildModel(options: BuildOptions): Promise<Manifest> {
  return buildFolder(options, (builder) => builder.backbones(options));
}

/**
 * Builds a model folder from a public vision-language model (docs/vlm.md): LLaVA, LLaVA-NeXT with one tile, Idefics3,
 * SmolVLM or nanoVLM. Its connector becomes the adapter `vlm`, and its chat template the prompts.
 *
 * @throws invalid_checkpoint, unsupported_architecture, invalid_adapter, not_found, invalid_option
 *
 * @example
 * ```ts
 * import { buildVlm, resolveFolder } from "epalm";
 * const given = "HuggingFaceTB/SmolVLM-256M-Instruct";
 * await buildVlm({
 *   output: "my-model",
 *   vlm: { path: await resolveFolder(given), given, encoderPrecision: "int8", decoderPrecision: "int8" },
 *   adapters: [],
 * });
 * ```
 */
export function buildVlm(options: VlmBuildOptions): Promise<Manifest> {
  return buildFolder(options, (builder) => builder.wholeModel(options.vlm));
}

async function buildFolder(
  options: BuildOptions | VlmBuildOptions,
  backbones: (builder: ModelBuilder) => Promise<BuiltBackbones>,
): Promise<Manifest> {
  checkNames(options);
  const output = resolve(options.output);
  if (existsSync(output)) throw new EpalmError("invalid_option", `output: ${output} already exists`);
  const folder = `${output}.part`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    const manifest = await new ModelBuilder(folder, options).build(backbones);
    writeFileSync(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
    renameSync(folder, output);
    return manifest;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

class ModelBuilder {
  readonly #folder: string;
  readonly #options: BuildOptions | VlmBuildOptions;
  readonly #files: Manifest["files"] = {};

  constructor(folder: string, options: BuildOptions | VlmBuildOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  async build(backbones: (builder: this) => Promise<BuiltBackbones>): Promise<Manifest> {
    // Adapters are small and backbones are large, so errors in adapters are found before the backbones are written.
    const read = await Promise.all(this.#options.adapters.map(({ path, settings }) => readAdapter(path, settings)));
    let { encoders, decoder, adapters, ...prompts } = await backbones(this);
    for (const [index, options] of this.#options.adapters.entries()) {
      const adapter = read[index] as Adapter;
      encoders = this.#withPatchGraph(options, adapter, encoders);
      adapters = { ...adapters, [options.name]: await this.#adapter(options, adapter, encoders, decoder) };
    }
    return manifestSchema.parse({
      format: "epalm-model",
      version: 1,
      name: this.#options.name ?? basename(resolve(this.#options.output)),
      ...encoders,
      decoder,
      ...prompts,
      adapters,
      files: this.#files,
    } satisfies Manifest);
  }

  async backbones({ encoder, decoder }: BuildOptions): Promise<BuiltBackbones> {
    const encoders = await this.#withOthers(await this.#encoder(encoder, []));
    return { encoders, ...(await this.#decoder(decoder)), adapters: {} };
  }

  /** Takes a vision-language model apart; its connector becomes an adapter. */
  async wholeModel(options: VlmOptions): Promise<BuiltBackbones> {
    const { path, given, revision, tokenizer: texts } = options;
    this.#stage(`model ${given}`);
    const source = await openSource(path, given, revision);
    try {
      const files = prepareTokenizer(texts ?? source.folder);
      const { encoder, patches, decoder, adapter, prompts } = splitVlm(source, files);
      const first = await this.#builtEncoder(encoder, [], {
        precision: options.encoderPrecision,
        preprocessing: "source",
      });
      const written = writePrompts(prompts, readChatTemplate(source.folder), files, source.folder);
      const built = await this.#builtDecoder(decoder, options.decoderPrecision, () => files, written.endTokens);
      const { files: extended, ...encoders } = withPatchGraph(
        this.#folder,
        { ...(await this.#withOthers(first)), files: this.#files },
        "image",
        adapter.settings,
        patches,
      );
      Object.assign(this.#files, extended);
      const entry = { name: VLM_ADAPTER, path: source.path, tasks: ["caption", "vqa"] as const };
      const { tasks, conversation } = written;
      return {
        encoders,
        decoder: built,
        tasks,
        ...(conversation ? { conversation } : {}),
        adapters: { [VLM_ADAPTER]: await this.#adapter(entry, adapter, encoders, built) },
      };
    } finally {
      source.checkpoint.close();
    }
  }

  /** A first encoder, and those of further modalities. */
  async #withOthers(first: EncoderManifest): Promise<Encoders> {
    const { otherEncoders = [] } = this.#options;
    const others: EncoderManifest[] = [];
    for (const options of otherEncoders) others.push(await this.#encoder(options, [first, ...others]));
    return others.length === 0 ? { encoder: first } : { encoder: first, otherEncoders: others };
  }

  async #encoder(options: EncoderOptions, before: readonly EncoderManifest[]): Promise<EncoderManifest> {
    this.#stage(`encoder ${options.given}`);
    if (existsSync(join(options.path, MANIFEST_FILE))) return this.#copiedEncoder(options, before);
    const source = await openSource(options.path, options.given, options.revision);
    try {
      return await this.#builtEncoder(source, before, options);
    } finally {
      source.checkpoint.close();
    }
  }

  async #builtEncoder(
    source: Source,
    before: readonly EncoderManifest[],
    options: Omit<EncoderOptions, keyof SourceReference>,
  ): Promise<EncoderManifest> {
    const g = new GraphBuilder("encoder");
    const { backbone, pooling, weights } = readEncoder(g, source, options);
    refuseSecond(backbone.modality, before, source.path);
    const prepared = preprocessingOf(source, backbone, options.preprocessing, options.imageSize);
    const graph = encoderGraph(g, backbone);
    weights.finish();
    const path = `${encoderFolder(backbone.modality, before)}/model.onnx`;
    await this.#write(graph, path, options.precision);
    return {
      architecture: backbone.architecture,
      ...prepared,
      graph: path,
      precision: options.precision,
      parameters: parameterCount(weights),
      inputShape: [...backbone.inputShape],
      depth: backbone.depth,
      width: backbone.width,
      pooling,
      origin: source.origin,
    };
  }

  /** Copies an encoder of another model folder, whose files are checked first. */
  async #copiedEncoder(
    { path, given, modality: wanted, frames, heads, imageSize, pooling }: EncoderOptions,
    before: readonly EncoderManifest[],
  ): Promise<EncoderManifest> {
    for (const [name, value] of Object.entries({ frames, heads, imageSize, pooling })) {
      if (value === undefined) continue;
      throw unexpected("invalid_option", name, "nothing with the encoder of a model folder, which is copied", value);
    }
    const { manifest } = await openModelFolder(path);
    const encoder = wanted === undefined ? manifest.encoder : encoderOf(manifest, wanted, given);
    refuseSecond(encoder.modality, before, given);
    const [from, to] = [posix.dirname(encoder.graph), encoderFolder(encoder.modality, before)];
    mkdirSync(join(this.#folder, to));
    for (const name of Object.keys(manifest.files).filter((file) => posix.dirname(file) === from)) {
      const copied = `${to}/${posix.basename(name)}`;
      copyFileSync(join(path, name), join(this.#folder, copied));
      await this.#record(copied);
    }
    const moved = (name: string) => `${to}/${posix.basename(name)}`;
    const { graph, patches } = encoder;
    return {
      ...encoder,
      graph: moved(graph),
      ...(patches ? { patches: { ...patches, graph: moved(patches.graph) } } : {}),
    };
  }

  /** The encoders with a graph of patch states, if the adapter needs one. */
  #withPatchGraph({ name, modality }: AdapterOptions, { settings }: Adapter, encoders: Encoders): Encoders {
    const wanted = encoderOf(encoders, modality ?? encoders.encoder.modality, `adapter '${name}'`).modality;
    const { files, ...extended } = withPatchGraph(this.#folder, { ...encoders, files: this.#files }, wanted, settings);
    Object.assign(this.#files, files);
    return extended;
  }

  async #decoder(options: DecoderOptions): Promise<BuiltDecoder> {
    this.#stage(`decoder ${options.given}`);
    if (existsSync(join(options.path, MANIFEST_FILE))) return this.#rebuiltDecoder(options);
    const source = await openSource(options.path, options.given, options.revision);
    try {
      if (!source.config)
        throw new EpalmError("not_found", `${source.path}: expected a folder with the decoder's config.json`);
      let hasAnswerToken = false;
      const decoder = await this.#builtDecoder(source, options.precision, (rows) => {
        const files = prepareTokenizer(source.folder);
        const extended = withAnswerToken(files, rows);
        hasAnswerToken = extended !== files;
        return extended;
      });
      return { decoder, tasks: publishedTasks(hasAnswerToken) };
    } finally {
      source.checkpoint.close();
    }
  }

  /**
   * @param texts the tokenizer, for a number of rows of the embedding table
   * @param endTokens end tokens in addition to those of the checkpoint, which come before them
   */
  async #builtDecoder(
    source: Source,
    precision: Precision,
    texts: (rows: number) => TokenizerFiles,
    endTokens: readonly number[] = [],
  ): Promise<DecoderManifest> {
    const { config = {} } = source;
    const architecture = decoderArchitecture(String(config.model_type), source.path);
    const prefix = wrapperPrefix(source.checkpoint.tensors.keys());
    const weights = new Weights(source.checkpoint, { prefix, rename: architecture.rename });
    const g = new GraphBuilder("decoder");
    const backbone = architecture.build(config, new ParameterReader(g, weights));
    const graph = decoderGraph(g, backbone);
    weights.finish();
    await this.#tokenizer(texts(backbone.shape.vocabulary), backbone.shape.vocabulary, source.folder);
    const path = "decoder/model.onnx";
    await this.#write(graph, path, precision);
    return {
      architecture: backbone.architecture,
      graph: path,
      precision,
      parameters: parameterCount(weights),
      shape: backbone.shape as DecoderManifest["shape"],
      config: { ...config },
      visualTokens: true,
      tokenizer: "tokenizer",
      ...textBounds(source, endTokens),
      origin: source.origin,
    };
  }

  /** Builds the decoder graph of another model folder again from its weights; its prompts and tokenizer are kept. */
  async #rebuiltDecoder({ path, precision }: DecoderOptions): Promise<BuiltDecoder> {
    const folder = await openModelFolder(path);
    const { decoder, tasks, chat, conversation } = folder.manifest;
    const g = new GraphBuilder("decoder");
    const graph = "decoder/model.onnx";
    await this.#write(decoderGraph(g, frozenDecoder(folder, g)), graph, precision);
    mkdirSync(join(this.#folder, "tokenizer"));
    for (const name of Object.keys(folder.manifest.files).filter((file) => posix.dirname(file) === decoder.tokenizer)) {
      const copied = `tokenizer/${posix.basename(name)}`;
      copyFileSync(join(path, name), join(this.#folder, copied));
      await this.#record(copied);
    }
    // The adapters, which are not copied, determine the capabilities.
    const { capabilities: _ofCaption, ...caption } = tasks.caption;
    const { capabilities: _ofVqa, ...vqa } = tasks.vqa;
    return {
      decoder: { ...decoder, graph, precision, visualTokens: true, tokenizer: "tokenizer" },
      tasks: { caption, vqa },
      ...(chat ? { chat } : {}),
      ...(conversation ? { conversation } : {}),
    };
  }

  async #tokenizer({ tokenizerJson, tokenizerConfig }: TokenizerFiles, rows: number, where: string): Promise<void> {
    const count = firstFreeToken(tokenizerJson);
    if (count > rows) {
      throw new EpalmError(
        "invalid_checkpoint",
        `${where}: the tokenizer has ${count} tokens, but the embedding table has only ${rows} rows`,
      );
    }
    mkdirSync(join(this.#folder, "tokenizer"));
    for (const [name, content] of [
      ["tokenizer/tokenizer.json", tokenizerJson],
      ["tokenizer/tokenizer_config.json", tokenizerConfig],
    ] as const) {
      writeFileSync(join(this.#folder, name), JSON.stringify(content));
      await this.#record(name);
    }
  }

  async #adapter(
    { name, path, tasks, modality: wanted }: Omit<AdapterOptions, "settings">,
    adapter: Adapter,
    encoders: Encoders,
    decoder: DecoderManifest,
  ): Promise<AdapterManifest> {
    this.#stage(`adapter ${name}`);
    const modality = wanted ?? encoders.encoder.modality;
    checkFits(adapter, { encoder: encoderOf(encoders, modality, `adapter '${name}'`), decoder }, path);
    const file = `adapters/${name}.safetensors`;
    mkdirSync(join(this.#folder, "adapters"), { recursive: true });
    writeAdapter(join(this.#folder, file), adapter);
    await this.#record(file);
    const parameters = Array.from(adapter.tensors.values(), ({ shape }) => elementCount(shape));
    const sum = parameters.reduce((total, count) => total + count, 0);
    return { file, modality, tasks: [...tasks], parameters: sum };
  }

  async #write(graph: Graph, path: string, precision: Precision): Promise<void> {
    const { shardBytes, reduceRange } = this.#options;
    const final = inPrecision(graph, precision, { reduceRange });
    const folder = path.slice(0, path.lastIndexOf("/"));
    for (const file of writeOnnx(final, join(this.#folder, path), shardBytes === undefined ? {} : { shardBytes })) {
      this.#files[`${folder}/${file.name}`] = { bytes: file.bytes, sha256: file.sha256 };
    }
  }

  async #record(name: string): Promise<void> {
    const path = join(this.#folder, name);
    this.#files[name] = { bytes: statSync(path).size, sha256: await fileSha256(path) };
  }

  #stage(stage: string): void {
    this.#options.onStage?.(stage);
  }
}

/** Encoders, a decoder, its prompts, and the adapters that come with them. */
type BuiltBackbones = Pick<Manifest, "decoder" | "tasks" | "chat" | "conversation" | "adapters"> & {
  readonly encoders: Encoders;
};

/** A decoder, and the prompts that belong to it. */
interface BuiltDecoder extends Pick<Manifest, "tasks" | "chat" | "conversation"> {
  readonly decoder: DecoderManifest;
}

function refuseSecond(modality: Modality, before: readonly EncoderManifest[], given: string): void {
  if (before.every((other) => other.modality !== modality)) return;
  throw unexpected("invalid_option", given, "one encoder per modality", `a second one for ${modality}`);
}

/** The folder of an encoder's graph in the model folder. */
function encoderFolder(modality: Modality, before: readonly EncoderManifest[]): string {
  return before.length === 0 ? "encoder" : `${modality}-encoder`;
}

/** The number of parameters in all tensors of a checkpoint that belong to the backbone. */
function parameterCount(weights: Weights): number {
  return Array.from(weights.names(), (name) => elementCount(weights.shapeOf(name) ?? [0])).reduce((a, b) => a + b, 0);
}

/** The tokenizer with `</a>`, if the embedding table has a row for it; otherwise the same one. */
function withAnswerToken(files: TokenizerFiles, rows: number): TokenizerFiles {
  const id = firstFreeToken(files.tokenizerJson);
  return id < rows ? { ...files, tokenizerJson: addAnswerToken(files.tokenizerJson, ANSWER_TOKEN, id) } : files;
}
