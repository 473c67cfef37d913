import { unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import type { Prepared } from "./encoder-preprocessing.js";
import type { AdapterManifest, EncoderManifest, Manifest } from "./manifest.js";

/** One for each modality that a model takes. */
export type Encoders = Pick<Manifest, "encoder" | "otherEncoders">;

export type EncoderOf<M extends Modality> = Extract<EncoderManifest, { readonly modality: M }>;

export function encodersOf({ encoder, otherEncoders = [] }: Encoders): readonly EncoderManifest[] {
  return [encoder, ...otherEncoders];
}

/** The encoder of a modality; throws `invalid_option` where there is none, `where` first. */
export function encoderOf<M extends Modality>(model: Encoders, modality: M, where = "the model"): EncoderOf<M> {
  const encoders = encodersOf(model);
  const found = encoders.find((encoder): encoder is EncoderOf<M> => encoder.modality === modality);
  if (found) return found;
  const taken = encoders.map((encoder) => encoder.modality).join(" and ");
  throw unexpected("invalid_option", where, `an encoder of ${modality}`, taken);
}

/** Of the states that an adapter takes. */
export function adapterModality({ encoder }: Encoders, adapter: AdapterManifest): Modality {
  return adapter.modality ?? encoder.modality;
}

/** How media are prepared for an encoder, without what else its manifest says. */
export function preparedFor({ modality, preprocessing }: EncoderManifest): Prepared {
  // Which preprocessing goes with which modality is lost where a union is taken apart.
  return { modality, preprocessing } as Prepared;
}

/** In the order of the folder's encoders. */
export function modalitiesOf(model: Encoders): readonly Modality[] {
  return encodersOf(model).map(({ modality }) => modality);
}
