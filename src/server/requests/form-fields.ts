import { messageOf } from "../../core/errors.js";
import { type OptionValues, optionEntries } from "../../generation/option-table.js";
import { FieldError } from "../http/problem.js";

/** Forms have no lists of one element; under this name, a single question is a list. */
export const QUESTION_LIST = "question[]";

/** A part of a form that is not a file. */
export interface FormPart {
  readonly name: string;
  readonly text: string;
  /** Whether the part declared that it contains JSON. */
  readonly isJson: boolean;
}

const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

const booleans = new Set(["logprobs", "stream", "refuse_unfamiliar", "media_gain", ...optionsOf("boolean")]);
const lists = new Set(["candidates", ...optionsOf("strings")]);
const objects = new Set(optionsOf("biases", "schema"));
const numbers = new Set(["min_confidence", ...optionsOf("integer", "number", "probability")]);

function optionsOf(...types: readonly OptionValues["type"][]): string[] {
  return optionEntries.flatMap(([, { wire, type }]) => (types.includes(type) ? wire : []));
}

/** Splits the names of list elements, as axios and others send them: `candidates[]`, `candidates[0]`. */
export function fieldName(name: string): {
  readonly field: string;
  readonly isElement: boolean;
  readonly index: number;
} {
  const [, field = name, index] = /^(.+?)\[(\d{0,4})\]$/.exec(name) ?? [];
  return { field, isElement: index !== undefined, index: Number(index ?? 0) };
}

/**
 * Converts the parts of a form to the values that the same request has in JSON, which are not validated here: parts
 * that contain JSON are parsed, values of numeric and boolean fields are converted, and repeated fields become lists.
 * `name[]` is always a list. A field whose only part is empty, or is `null` in JSON, counts as absent. Empty elements
 * in a list remain, because other elements would take their place.
 *
 * @throws FieldError: invalid_option
 */
export function formFields(parts: readonly FormPart[]): Record<string, unknown> {
  const byField = new Map<string, FormPart[]>();
  for (const part of parts) {
    if (isBlank(part, parts)) continue;
    const { field } = fieldName(part.name);
    byField.set(field, [...(byField.get(field) ?? []), part]);
  }
  const entries = Array.from(byField, ([field, given]) => [field, fieldValue(field, given)] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** Programs send fields that a person has not filled in as empty parts, also under names that end in `[]`. */
function isBlank({ name, text }: FormPart, parts: readonly FormPart[]): boolean {
  return text === "" && !/\[\d+\]$/.test(name) && parts.filter((part) => part.name === name).length === 1;
}

function fieldValue(field: string, parts: readonly FormPart[]): unknown {
  const elements = parts.filter(({ name }) => fieldName(name).isElement);
  const [element] = elements;
  if (element && elements.length < parts.length) {
    throw new FieldError("invalid_option", field, `cannot be combined with ${element.name}`);
  }
  const inOrder = parts.toSorted((a, b) => fieldName(a.name).index - fieldName(b.name).index);
  const values = inOrder.map((part) => partValue(field, part));
  const [value] = values;
  if (values.length === 1 && value === null) return undefined;
  // A list in JSON is the list itself, not one of its elements.
  if (element || lists.has(field)) return values.length === 1 && Array.isArray(value) ? value : values;
  if (values.length === 1) return value;
  if (field === "question") return values;
  throw new FieldError("invalid_option", field, `expected one value, got ${values.length}`);
}

function partValue(field: string, { text, isJson }: FormPart): unknown {
  if ((isJson || objects.has(field)) && text !== "") return jsonValue(field, text);
  // Any other value remains a string, which the schema rejects.
  if (numbers.has(field) && NUMBER.test(text)) return Number(text);
  // Python writes True and False.
  if (booleans.has(field) && /^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
  return text;
}

function jsonValue(field: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FieldError("invalid_option", field, `the part is not valid JSON: ${messageOf(error)}`);
  }
}
