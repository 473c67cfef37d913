import { EpalmError } from "../core/errors.js";
import { type OptionValues, optionEntries } from "../generation/option-table.js";
import type { GenerationOptions } from "../generation/options.js";
import type { FormField } from "./form.js";

type ValueType = "number" | "boolean" | "string" | "list";

/**
 * Types of options. A form carries strings only, so that the service cannot distinguish "5" from 5: what the in-process
 * form refuses would pass. Ranges are the service's to check.
 */
const valueTypes: { readonly [Type in OptionValues["type"]]: readonly ValueType[] } = {
  integer: ["number"],
  number: ["number"],
  probability: ["number"],
  boolean: ["boolean", "string"],
  strings: ["list"],
};

/** Options of generation as fields of a request. @throws invalid_option for one of another type */
export function generationFields(options: GenerationOptions): FormField[] {
  return optionEntries.flatMap(([name, { wire, type }]) => {
    const value = options[name];
    if (value === undefined) return [];
    if (!valueTypes[type].some((one) => isOf(one, value))) {
      throw new EpalmError("invalid_option", `${name}: expected a ${valueTypes[type].join(" or ")}`);
    }
    return listField(wire, Array.isArray(value) ? value : [String(value)]);
  });
}

/** A field that is given once per text. */
export function listField(name: string, texts: readonly string[]): FormField[] {
  return texts.map((text) => [name, text]);
}

/** A field, unless there is nothing to say. @throws invalid_option for what is no text */
export function textField(name: string, text: string | undefined): FormField[] {
  if (text === undefined) return [];
  if (typeof text !== "string") throw new EpalmError("invalid_option", `${name}: expected a text`);
  return [[name, text]];
}

/** @throws invalid_option unless there is at least one text and nothing else; a form cannot carry an empty list */
export function expectTexts(name: string, texts: readonly string[]): void {
  if (isOf("list", texts) && texts.length > 0) return;
  throw new EpalmError("invalid_option", `${name}: expected at least one text, and only texts`);
}

/** @throws invalid_option, naming an option that has no meaning here: nothing is passed over in silence */
export function expectOptions(options: object, known: ReadonlySet<string>): void {
  const unknown = Object.entries(options).find(([name, value]) => value !== undefined && !known.has(name));
  if (!unknown) return;
  const message = `options: expected only ${[...known].join(", ")}, got ${unknown[0]}`;
  throw new EpalmError("invalid_option", message);
}

function isOf(type: ValueType, value: unknown): boolean {
  if (type === "list") return Array.isArray(value) && value.every((item) => typeof item === "string");
  // Of NaN and the infinities the service would say that they are texts.
  return typeof value === type && (type !== "number" || Number.isFinite(value));
}
