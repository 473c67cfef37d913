import { Option } from "commander";
import { EpalmError } from "../../core/errors.js";
import { type Modality, modalities } from "../../core/modality.js";

export interface ModalityFlags {
  readonly modality?: Modality | undefined;
}

/** @param description what the modality applies to, and its default */
export function modalityOption(description: string): Option {
  return new Option("--modality <modality>", description).choices(modalities);
}

/** @throws invalid_option if the model does not accept the modality of `--modality` */
export function checkModality(
  { modality }: ModalityFlags,
  { modalities: taken }: { readonly modalities: readonly Modality[] },
): void {
  if (modality === undefined || taken.includes(modality)) return;
  throw new EpalmError("invalid_option", `--modality: expected ${taken.join(" or ")}, got ${modality}`);
}
