import type { TaskName } from "../../index.js";
import type { OllamaFormat } from "./ollama-schema.js";

/** Clients may send any schema; only these parts matter for a document with one text. */
interface Schema {
  readonly type?: unknown;
  readonly properties?: unknown;
  readonly required?: unknown;
}

/**
 * Puts a text into the JSON document that `format` requests, so that models that write no JSON need not.
 *
 * @param format nothing: the text alone; `json`: an object with the key `caption` or `answer`; or a JSON schema, which
 *   is a string, a list of strings, or an object with one property of these kinds and no other required one
 */
export function formatted(text: string, format: OllamaFormat, task: TaskName): string {
  if (format === undefined || format === "") return text;
  if (format === "json") return JSON.stringify({ [task === "caption" ? "caption" : "answer"]: text });
  return JSON.stringify(filled(format, text));
}

/** Whether `format` is a schema that one text cannot fill, so that the document has to be generated. */
export function needsDocument(format: OllamaFormat): format is Exclude<OllamaFormat, string | undefined> {
  return typeof format === "object" && filled(format, "") === undefined;
}

/** Undefined if one text cannot satisfy the schema. */
function filled(schema: Schema, text: string): unknown {
  const own = leaf(schema, text);
  if (own !== undefined) return own;
  const { type = "object", properties = {}, required = [] } = schema;
  if (type !== "object" || typeof properties !== "object" || properties === null) return undefined;
  const needed: readonly unknown[] = Array.isArray(required) ? required : [];
  const fitting = Object.entries(properties).flatMap(([key, value]) => {
    const content = leaf(value, text);
    return content === undefined ? [] : [{ key, content }];
  });
  const chosen = fitting.find(({ key }) => needed.includes(key)) ?? fitting[0];
  if (!chosen) return needed.length === 0 && Object.keys(properties).length === 0 ? { text } : undefined;
  return needed.every((key) => key === chosen.key) ? { [chosen.key]: chosen.content } : undefined;
}

function leaf(schema: unknown, text: string): unknown {
  if (typeof schema !== "object" || schema === null || "enum" in schema || "const" in schema) return undefined;
  const type = "type" in schema ? schema.type : undefined;
  if (type === "string" || (Array.isArray(type) && type.includes("string"))) return text;
  const item = type === "array" && "items" in schema ? leaf(schema.items, text) : undefined;
  return item === undefined ? undefined : [item];
}
