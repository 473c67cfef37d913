import type { GivenSettings } from "../adapter/adapter-file.js";
import { EpalmError } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Precision } from "../core/precision.js";
import type { PreprocessingChoice } from "./encoder-preprocessing.js";
import { ADAPTER_NAME, type TaskName } from "./manifest.js";
import type { EncoderChoices } from "./read-encoder.js";

/** The adapter with the connector of a vision-language model. */
export const VLM_ADAPTER = "vlm";

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

/** A public vision-language model, which is taken apart into an encoder, a connector and a decoder. */
export interface VlmOptions extends SourceReference {
  readonly encoderPrecision: Precision;
  readonly decoderPrecision: Precision;
  /** The folder of the tokenizer. Default: that of the model; nanoVLM's repositories have none. */
  readonly tokenizer?: string | undefined;
}

/** What all builds have in common. */
interface CommonBuildOptions {
  /** The model folder to create; it must not exist. */
  readonly output: string;
  /** Default: the last part of `output`. */
  readonly name?: string | undefined;
  /** Encoders of further modalities, at most one per modality. */
  readonly otherEncoders?: readonly EncoderOptions[] | undefined;
  readonly adapters: readonly AdapterOptions[];
  /** Uses 7-bit instead of 8-bit weights, for CPUs without VNNI. Default: false. */
  readonly reduceRange?: boolean | undefined;
  /** Maximum size of one data file, in bytes. */
  readonly shardBytes?: number | undefined;
  /** Receives the name of each stage of the build. */
  readonly onStage?: ((stage: string) => void) | undefined;
}

/** What a model folder is built from. */
export interface BuildOptions extends CommonBuildOptions {
  readonly encoder: EncoderOptions;
  readonly decoder: DecoderOptions;
}

/** A model folder that is built from a whole model, whose connector becomes the adapter `vlm`. */
export interface VlmBuildOptions extends CommonBuildOptions {
  readonly vlm: VlmOptions;
}

/** @throws invalid_option for names that would give an invalid manifest or a file outside the folder. */
export function checkNames({ name, adapters, ...others }: BuildOptions | VlmBuildOptions): void {
  const refuse = (message: string) => new EpalmError("invalid_option", message);
  if (name === "") throw refuse("name: expected a non-empty string, got an empty string");
  const names = new Set<string>("vlm" in others ? [VLM_ADAPTER] : []);
  for (const adapter of adapters) {
    if (!ADAPTER_NAME.test(adapter.name)) {
      throw refuse(`adapter '${adapter.name}': expected a name of letters, digits, '.', '_' and '-'`);
    }
    if (names.has(adapter.name)) throw refuse(`adapter '${adapter.name}': is given twice`);
    if (adapter.tasks.length === 0) throw refuse(`adapter '${adapter.name}': expected at least one task, got none`);
    names.add(adapter.name);
  }
}
