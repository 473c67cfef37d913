import { unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Prepared } from "./encoder-preprocessing.js";
import type { AdapterManifest, EncoderManifest, Manifest } from "./manifest.js";

/** The encoders of a model, one per supported modality. */
export type Encoders = Pick<Manifest, "encoder" | "otherEncoders">;

/** The manifest entry of the encoder of one modality. */
export type EncoderOf<M extends Modality> = Extract<EncoderManifest, { readonly modality: M }>;

/**
 * All encoders of a model, the first one first.
 *
 * @example
 * ```ts
 * import { encodersOf, readManifest } from "epalm";
 * console.log(encodersOf(readManifest("my-model")).map(({ modality }) => modality));
 * ```
 */
export function encodersOf({ encoder, otherEncoders = [] }: Encoders): readonly EncoderManifest[] {
  return [encoder, ...otherEncoders];
}

/**
 * The encoder of a modality.
 *
 * @throws invalid_option if the model has none; the message begins with `where`
 *
 * @example
 * ```ts
 * import { encoderOf, readManifest } from "epalm";
 * console.log(encoderOf(readManifest("my-model"), "image").architecture);
 * ```
 */
export function encoderOf<M extends Modality>(model: Encoders, modality: M, where = "the model"): EncoderOf<M> {
  const encoders = encodersOf(model);
  const found = encoders.find((encoder): encoder is EncoderOf<M> => encoder.modality === modality);
  if (found) return found;
  const taken = encoders.map((encoder) => encoder.modality).join(" and ");
  throw unexpected("invalid_option", where, `an encoder for ${modality}`, taken);
}

/**
 * The modality whose states an adapter takes.
 *
 * @example
 * ```ts
 * import { adapterModality, readManifest } from "epalm";
 * const manifest = readManifest("my-model");
 * for (const [name, adapter] of Object.entries(manifest.adapters)) {
 *   console.log(name, adapterModality(manifest, adapter));
 * }
 * ```
 */
export function adapterModality({ encoder }: Encoders, adapter: AdapterManifest): Modality {
  return adapter.modality ?? encoder.modality;
}

/** The preprocessing of an encoder, without the rest of its manifest. */
export function preparedFor({ modality, preprocessing }: EncoderManifest): Prepared {
  // Destructuring a union loses which preprocessing belongs to which modality.
  return { modality, preprocessing } as Prepared;
}

/**
 * The supported modalities, in the order of the encoders.
 *
 * @example
 * ```ts
 * import { modalitiesOf, readManifest } from "epalm";
 * if (!modalitiesOf(readManifest("my-model")).includes("audio")) console.log("takes no audio");
 * ```
 */
export function modalitiesOf(model: Encoders): readonly Modality[] {
  return encodersOf(model).map(({ modality }) => modality);
}
