import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join, posix, resolve } from "node:path";
import { z } from "zod";
import type { Adapter } from "../adapter/adapter.js";
import { type GivenSettings, readAdapter, writeAdapter } from "../adapter/adapter-file.js";
import { decoderGraph } from "../adapter/decoder-graph.js";
import { encoderGraph } from "../backbones/encoders/encoder-graph.js";
import { ParameterReader } from "../backbones/parameters.js";
import { decoderArchitecture } from "../backbones/registry.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { wrapperPrefix } from "../formats/prefix.js";
import { Weights } from "../formats/weights.js";
import { GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/ir.js";
import { writeOnnx } from "../graph/onnx-writer.js";
import { quantizeGraph } from "../graph/quantize.js";
import { elementCount } from "../tensor/tensor.js";
import { addAnswerToken, firstFreeToken, prepareTokenizer, type TokenizerJson } from "../tokenizer/tokenizer-files.js";
import { type PreprocessingChoice, preprocessingOf } from "./encoder-preprocessing.js";
import { type Encoders, encoderOf } from "./encoders.js";
import { frozenDecoder } from "./frozen-decoder.js";
import {
  ADAPTER_NAME,
  type AdapterManifest,
  type DecoderManifest,
  type EncoderManifest,
  MANIFEST_FILE,
  type Manifest,
  manifestSchema,
  type Precision,
  type TaskName,
} from "./manifest.js";
import { checkFits, fileSha256, openModelFolder } from "./model-folder.js";
import { withPatchGraph } from "./patch-graph.js";
import { type EncoderChoices, readEncoder } from "./read-encoder.js";
import { openSource, readJson, type Source } from "./source-folder.js";
import { ANSWER_TOKEN, publishedTasks } from "./tasks.js";

/** A public checkpoint: its location on disk, and the name that the user gave. */
export interface SourceReference {
  /** A folder or a single weights file. */
  readonly path: string;
  /** Recorded in the manifest: a hub id or the path. */
  readonly given: string;
  /** Commit on the hub. */
  readonly revision?: string | undefined;
}

/**
 * The checkpoint of an encoder, its precision and its preprocessing. The encoder of a model folder is copied as it is,
 * with its own precision and preprocessing.
 */
export interface EncoderOptions extends SourceReference, EncoderChoices {
  readonly precision: Precision;
  readonly preprocessing: PreprocessingChoice;
}

/** The checkpoint of a decoder, or a model folder, whose decoder graph is built again from its weights. */
export interface DecoderOptions extends SourceReference {
  readonly precision: Precision;
}

/** An adapter to install in the model folder that is built. */
export interface AdapterOptions {
  readonly name: string;
  readonly path: string;
  readonly tasks: readonly TaskName[];
  /** Modality of the encoder whose states it takes. Default: that of `encoder`. */
  readonly modality?: Modality | undefined;
  /** Settings that the file itself does not contain. */
  readonly settings?: GivenSettings | undefined;
}

/** What a model folder is built from. */
export interface BuildOptions {
  /** The model folder to create; it must not exist. */
  readonly output: string;
  /** Default: the last part of `output`. */
  readonly name?: string | undefined;
  readonly encoder: EncoderOptions;
  /** Encoders of further modalities, at most one per modality. */
  readonly otherEncoders?: readonly EncoderOptions[] | undefined;
  readonly decoder: DecoderOptions;
  readonly adapters: readonly AdapterOptions[];
  /** Uses 7-bit instead of 8-bit weights, for CPUs without VNNI. Default: false. */
  readonly reduceRange?: boolean | undefined;
  /** Maximum size of one data file, in bytes. */
  readonly shardBytes?: number | undefined;
  /** Receives the name of each stage of the build. */
  readonly onStage?: ((stage: string) => void) | undefined;
}

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
export async function buildModel(options: BuildOptions): Promise<Manifest> {
  checkNames(options);
  const output = resolve(options.output);
  if (existsSync(output)) throw new EpalmError("invalid_option", `output: ${output} already exists`);
  const folder = `${output}.part`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    const manifest = await new ModelBuilder(folder, options).build();
    writeFileSync(join(folder, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
    renameSync(folder, output);
    return manifest;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Rejects names that would give an invalid manifest or a file outside the folder. */
function checkNames({ name, adapters }: BuildOptions): void {
  const refuse = (message: string) => new EpalmError("invalid_option", message);
  if (name === "") throw refuse("name: expected a non-empty string, got an empty string");
  const names = new Set<string>();
  for (const adapter of adapters) {
    if (!ADAPTER_NAME.test(adapter.name)) {
      throw refuse(`adapter '${adapter.name}': expected a name of letters, digits, '.', '_' and '-'`);
    }
    if (names.has(adapter.name)) throw refuse(`adapter '${adapter.name}': is given twice`);
    if (adapter.tasks.length === 0) throw refuse(`adapter '${adapter.name}': expected at least one task, got none`);
    names.add(adapter.name);
  }
}

class ModelBuilder {
  readonly #folder: string;
  readonly #options: BuildOptions;
  readonly #files: Manifest["files"] = {};

  constructor(folder: string, options: BuildOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  async build(): Promise<Manifest> {
    // Adapters are small and backbones are large, so errors in adapters are found before the backbones are written.
    const read = await Promise.all(this.#options.adapters.map(({ path, settings }) => readAdapter(path, settings)));
    let encoders = await this.#encoders();
    const { decoder, tasks, chat } = await this.#decoder(this.#options.decoder);
    const adapters: Record<string, AdapterManifest> = {};
    for (const [index, options] of this.#options.adapters.entries()) {
      const adapter = read[index] as Adapter;
      encoders = this.#withPatchGraph(options, adapter, encoders);
      adapters[options.name] = await this.#adapter(options, adapter, encoders, decoder);
    }
    return manifestSchema.parse({
      format: "epalm-model",
      version: 1,
      name: this.#options.name ?? basename(resolve(this.#options.output)),
      ...encoders,
      decoder,
      tasks,
      ...(chat ? { chat } : {}),
      adapters,
      files: this.#files,
    } satisfies Manifest);
  }

  async #encoders(): Promise<Encoders> {
    const { encoder, otherEncoders = [] } = this.#options;
    const first = await this.#encoder(encoder, []);
    const others: EncoderManifest[] = [];
    for (const options of otherEncoders) others.push(await this.#encoder(options, [first, ...others]));
    return others.length === 0 ? { encoder: first } : { encoder: first, otherEncoders: others };
  }

  async #encoder(options: EncoderOptions, before: readonly EncoderManifest[]): Promise<EncoderManifest> {
    this.#stage(`encoder ${options.given}`);
    if (existsSync(join(options.path, MANIFEST_FILE))) return this.#copiedEncoder(options, before);
    const source = await openSource(options.path, options.given, options.revision);
    try {
      const g = new GraphBuilder("encoder");
      const { backbone, pooling, weights } = readEncoder(g, source, options);
      refuseSecond(backbone.modality, before, options.given);
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
    } finally {
      source.checkpoint.close();
    }
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
      const architecture = decoderArchitecture(String(source.config.model_type), source.path);
      const prefix = wrapperPrefix(source.checkpoint.tensors.keys());
      const weights = new Weights(source.checkpoint, { prefix, rename: architecture.rename });
      const g = new GraphBuilder("decoder");
      const backbone = architecture.build(source.config, new ParameterReader(g, weights));
      const graph = decoderGraph(g, backbone);
      weights.finish();
      const hasAnswerToken = await this.#tokenizer(source, backbone.shape.vocabulary);
      const path = "decoder/model.onnx";
      await this.#write(graph, path, options.precision);
      const decoder = {
        architecture: backbone.architecture,
        graph: path,
        precision: options.precision,
        parameters: parameterCount(weights),
        shape: backbone.shape as DecoderManifest["shape"],
        config: { ...source.config },
        visualTokens: true,
        tokenizer: "tokenizer",
        ...textBounds(source),
        origin: source.origin,
      };
      return { decoder, tasks: publishedTasks(hasAnswerToken) };
    } finally {
      source.checkpoint.close();
    }
  }

  /** Builds the decoder graph of another model folder again from its weights; its prompts and tokenizer are kept. */
  async #rebuiltDecoder({ path, precision }: DecoderOptions): Promise<BuiltDecoder> {
    const folder = await openModelFolder(path);
    const { decoder, tasks, chat } = folder.manifest;
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
      chat,
    };
  }

  /** Writes the tokenizer, with `</a>` if the embedding table has a row for it. Returns whether it has one. */
  async #tokenizer(source: Source, rows: number): Promise<boolean> {
    const { tokenizerJson, tokenizerConfig } = prepareTokenizer(source.folder);
    const id = firstFreeToken(tokenizerJson);
    if (id > rows) {
      throw new EpalmError(
        "invalid_checkpoint",
        `${source.folder}: the tokenizer has ${id} tokens, but the embedding table has only ${rows} rows`,
      );
    }
    const hasRoom = id < rows;
    const json: TokenizerJson = hasRoom ? addAnswerToken(tokenizerJson, ANSWER_TOKEN, id) : tokenizerJson;
    mkdirSync(join(this.#folder, "tokenizer"));
    for (const [name, content] of [
      ["tokenizer/tokenizer.json", json],
      ["tokenizer/tokenizer_config.json", tokenizerConfig],
    ] as const) {
      writeFileSync(join(this.#folder, name), JSON.stringify(content));
      await this.#record(name);
    }
    return hasRoom;
  }

  async #adapter(
    { name, path, tasks, modality: wanted }: AdapterOptions,
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
    const final = precision === "fp32" ? graph : quantizeGraph(graph, { precision, reduceRange });
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

/** A decoder, and the prompts that belong to it. */
interface BuiltDecoder extends Pick<Manifest, "tasks" | "chat"> {
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

const tokenIds = z.union([
  z
    .int()
    .min(0)
    .transform((id) => [id]),
  z.array(z.int().min(0)).min(1),
]);
const textConfig = z.object({ bos_token_id: tokenIds.nullish(), eos_token_id: tokenIds.nullish() });

/** The start and end tokens. Values of the generation config take precedence over those of the model's config. */
function textBounds({ folder, config }: Source): Pick<DecoderManifest, "startToken" | "endTokens"> {
  // A key that is null leaves the value of the file with less precedence. Composite models nest the decoder's config.
  const sources = [config?.text_config, config, readJson(join(folder, "generation_config.json"))];
  const stated = sources.flatMap((source) => Object.entries(source ?? {}).filter(([, value]) => value !== null));
  const result = textConfig.safeParse(Object.fromEntries(stated));
  const endTokens = result.data?.eos_token_id;
  if (!endTokens) {
    throw new EpalmError("invalid_checkpoint", `${folder}: 'eos_token_id': expected a token id or a list of token ids`);
  }
  const [startToken = 0] = result.data?.bos_token_id ?? endTokens;
  return { startToken, endTokens };
}
