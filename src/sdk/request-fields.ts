import { EpalmError } from "../core/errors.js";
import { type OptionValues, optionEntries } from "../generation/option-table.js";
import type { GenerationOptions } from "../generation/options.js";
import type { FormField } from "./form.js";
import type { CommonTrustOptions } from "./multimodal-model.js";

type ValueType = "number" | "boolean" | "string" | "list" | "numbers by string" | "object";

/**
 * JavaScript types of the options. A form contains only strings, so the service cannot distinguish "5" from 5; without
 * this check, it would accept values that a loaded model rejects. The service checks the ranges.
 */
const valueTypes: { readonly [Type in OptionValues["type"]]: readonly ValueType[] } = {
  integer: ["number"],
  number: ["number"],
  probability: ["number"],
  boolean: ["boolean", "string"],
  strings: ["list"],
  biases: ["numbers by string"],
  string: ["string"],
  schema: ["object"],
};

/** The generation options as form fields. @throws invalid_option for a value of the wrong type */
export function generationFields(options: GenerationOptions): FormField[] {
  return optionEntries.flatMap(([name, { wire, type }]) => {
    const value = options[name];
    if (value === undefined) return [];
    if (!valueTypes[type].some((one) => isOf(one, value))) {
      throw new EpalmError("invalid_option", `${name}: expected a ${valueTypes[type].join(" or ")}`);
    }
    if (Array.isArray(value)) return listField(wire, value);
    return [[wire, typeof value === "object" ? JSON.stringify(value) : String(value)]];
  });
}

/** The trust options as form fields. @throws invalid_option for a value of the wrong type */
export function trustFormFields(options: CommonTrustOptions): FormField[] {
  const { refuseUnfamiliar, minConfidence, mediaGain } = options;
  const given = [
    ["refuseUnfamiliar", "refuse_unfamiliar", "boolean", refuseUnfamiliar],
    ["minConfidence", "min_confidence", "number", minConfidence],
    ["mediaGain", "media_gain", "boolean", mediaGain],
  ] as const;
  return given.flatMap(([name, wire, type, value]) => {
    if (value === undefined) return [];
    if (!isOf(type, value)) throw new EpalmError("invalid_option", `${name}: expected a ${type}`);
    return listField(wire, [String(value)]);
  });
}

/** A field that is repeated for each string. */
export function listField(name: string, texts: readonly string[]): FormField[] {
  return texts.map((text) => [name, text]);
}

/** A field; none if the value is undefined. @throws invalid_option if the value is not a string */
export function textField(name: string, text: string | undefined): FormField[] {
  if (text === undefined) return [];
  if (typeof text !== "string") throw new EpalmError("invalid_option", `${name}: expected a string`);
  return [[name, text]];
}

/** @throws invalid_option unless the list contains strings only and at least one: a form cannot hold an empty list */
export function expectTexts(name: string, texts: readonly string[]): void {
  if (isOf("list", texts) && texts.length > 0) return;
  throw new EpalmError("invalid_option", `${name}: expected a list of one or more strings`);
}

/** @throws invalid_option for an option that the method does not have; options are never ignored */
export function expectOptions(options: object, known: ReadonlySet<string>): void {
  const unknown = Object.entries(options).find(([name, value]) => value !== undefined && !known.has(name));
  if (!unknown) return;
  const message = `options: expected only ${[...known].join(", ")}, got ${unknown[0]}`;
  throw new EpalmError("invalid_option", message);
}

function isOf(type: ValueType, value: unknown): boolean {
  if (type === "numbers by string") {
    return typeof value === "object" && value !== null && Object.values(value).every((one) => isOf("number", one));
  }
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  if (type === "list") return Array.isArray(value) && value.every((item) => typeof item === "string");
  // The service would report NaN and Infinity as strings, because a form contains strings only.
  return typeof value === type && (type !== "number" || Number.isFinite(value));
}
