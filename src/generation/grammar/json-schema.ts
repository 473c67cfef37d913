import { EpalmError, excerpt, unexpected } from "../../core/errors.js";
import { choice, type Expression, literal, nothing, type Rule } from "./expression.js";
import {
  anyValue,
  characterInString,
  type JsonProperty,
  jsonArray,
  jsonInteger,
  jsonNumber,
  jsonObject,
  jsonString,
  MAX_INTEGER,
  quoted,
  rule,
} from "./json-text.js";
import { regexExpression } from "./regex.js";

/** A JSON schema, of which this module reads the part that a grammar can express. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Schemas inside of one schema; schemas that people write have far fewer. */
const MAX_SUBSCHEMAS = 2000;

/** Values of all `enum` together. */
const MAX_VALUES = 4000;

/** Nested schemas and merges; the bound keeps a hostile schema from exhausting the call stack. */
const MAX_DEPTH = 64;

/** Keywords that describe a value without restricting it. `format` is one of them if its value is unknown. */
const annotations = new Set([
  ...["$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "title", "description", "default", "examples"],
  ...["deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "nullable", "discriminator"],
]);

/** The keywords of each type. */
const keywords = {
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  object: ["properties", "required", "additionalProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  boolean: [],
  null: [],
} as const;

type TypeName = keyof typeof keywords;

const combining = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];
const known = new Set<string>([...annotations, ...combining, ...Object.values(keywords).flat()]);

/** Conservative forms, which all common validators accept. */
const formats: Readonly<Record<string, string>> = {
  date: String.raw`^\d{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$`,
  time: String.raw`^([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$`,
  "date-time": String.raw`^\d{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$`,
  duration: String.raw`^P\d{1,4}D$`,
  email: String.raw`^[a-z0-9]{1,20}(\.[a-z0-9]{1,20}){0,2}@[a-z0-9]{1,20}(\.[a-z0-9]{1,20}){0,2}\.[a-z]{2,6}$`,
  hostname: String.raw`^[a-z0-9]{1,20}(\.[a-z0-9]{1,20}){0,3}$`,
  ipv4: String.raw`^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$`,
  ipv6: "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$",
  uri: String.raw`^https?://[a-z0-9]{1,20}(\.[a-z0-9]{1,20}){1,3}(/[A-Za-z0-9_.-]{1,40}){0,8}$`,
  uuid: "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
};

/**
 * The expression for the documents of a schema, in JSON on one line. Each document matches the schema, but not every
 * document that matches it can be written: properties have the order of the schema, and others follow only if
 * `additionalProperties` asks for them. Keywords that a grammar cannot express are rejected.
 *
 * @param where the option, for errors
 * @throws invalid_option, too_large
 */
export function schemaExpression(schema: JsonSchema, where: string): Expression {
  return new SchemaReader(schema, where).read(schema, "#");
}

class SchemaReader {
  readonly #root: JsonSchema;
  readonly #where: string;
  readonly #referenced = new Map<string, Rule>();
  readonly #any = anyValue();
  #schemas = 0;
  #values = 0;
  #depth = 0;

  constructor(root: JsonSchema, where: string) {
    this.#root = root;
    this.#where = where;
  }

  read(schema: unknown, path: string): Rule {
    if (schema === true) return this.#any;
    if (schema === false) return rule(nothing);
    if (!isObject(schema)) throw this.#invalid(path, "an object or a boolean", schema);
    if (++this.#schemas > MAX_SUBSCHEMAS)
      throw unexpected("too_large", this.#where, `at most ${MAX_SUBSCHEMAS} schemas`, "more");
    if (++this.#depth > MAX_DEPTH)
      throw unexpected("too_large", this.#where, `at most ${MAX_DEPTH} nested schemas`, "more");
    const read = this.#readObject(schema, path);
    this.#depth--;
    return read;
  }

  #readObject(schema: JsonSchema, path: string): Rule {
    const unknown = Object.keys(schema).find((key) => !known.has(key) && !key.startsWith("x-"));
    if (unknown !== undefined) throw this.#unsupported(path, unknown);
    const { $ref, allOf, anyOf, oneOf, ...rest } = schema;
    const own = Object.fromEntries(Object.entries(rest).filter(([key]) => known.has(key) && !annotations.has(key)));
    if ($ref !== undefined) {
      if (Object.keys(own).length + Number(!!allOf) + Number(!!anyOf) + Number(!!oneOf) === 0) {
        return this.#reference($ref, path);
      }
      return this.read(
        this.#merged({ ...own, ...definedOf({ allOf, anyOf, oneOf }) }, this.#resolved($ref, path), path),
        path,
      );
    }
    if (allOf !== undefined) {
      const parts = this.#list(allOf, `${path}/allOf`).map((part) => this.#withoutReference(part, path));
      const start: JsonSchema = { ...own, ...definedOf({ anyOf, oneOf }) };
      return this.read(
        parts.reduce<JsonSchema>((all, part) => this.#merged(all, part, path), start),
        path,
      );
    }
    if (anyOf !== undefined && oneOf !== undefined) throw this.#unsupported(path, "oneOf");
    if (anyOf !== undefined) return this.#options(anyOf, own, `${path}/anyOf`, path);
    if (oneOf !== undefined) {
      const options = this.#list(oneOf, `${path}/oneOf`).map((one) => this.#withoutReference(one, path));
      this.#expectDisjoint(options, `${path}/oneOf`);
      return this.#options(oneOf, own, `${path}/oneOf`, path);
    }
    return rule(this.#value(own, path));
  }

  #options(options: unknown, own: JsonSchema, place: string, path: string): Rule {
    const read = this.#list(options, place).map((option, index) =>
      Object.keys(own).length === 0
        ? this.read(option, `${place}/${index}`)
        : this.read(this.#merged(own, this.#withoutReference(option, path), path), `${place}/${index}`),
    );
    return rule(choice(...read));
  }

  #value(schema: JsonSchema, path: string): Expression {
    const types = this.#types(schema, path);
    if ("const" in schema || "enum" in schema) return this.#constants(schema, types, path);
    if (!types) return this.#any;
    return choice(...types.map((type) => this.#ofType(type, schema, path)));
  }

  #constants(schema: JsonSchema, types: readonly TypeName[] | undefined, path: string): Expression {
    const { type: _type, enum: listed, const: only, ...others } = schema;
    const [other] = Object.keys(others);
    if (other !== undefined) throw this.#unsupported(path, `${other}, together with fixed values,`);
    const values = listed === undefined ? [only] : this.#list(listed, `${path}/enum`);
    this.#values += values.length;
    if (this.#values > MAX_VALUES) throw unexpected("too_large", this.#where, `at most ${MAX_VALUES} values`, "more");
    const isOnly = (value: unknown) => !("const" in schema) || JSON.stringify(value) === JSON.stringify(only);
    const fitting = values.filter((value) => isOnly(value) && (!types || types.some((type) => isOfType(value, type))));
    return choice(...fitting.map((value) => literal(JSON.stringify(value))));
  }

  /** The types that the schema names, or those of its keywords; undefined if it permits any value. */
  #types(schema: JsonSchema, path: string): readonly TypeName[] | undefined {
    const { type } = schema;
    const named = typeof type === "string" ? [type] : type;
    if (named === undefined) {
      const implied = (["object", "array", "string", "number"] as const).filter((one) =>
        keywords[one].some((key) => key in schema && !(key === "format" && !this.#formatOf(schema))),
      );
      return implied.length > 0 ? implied : undefined;
    }
    if (Array.isArray(named) && named.length > 0 && named.every(isTypeName)) return named;
    throw this.#invalid(`${path}/type`, `one or more of ${Object.keys(keywords).join(", ")}`, type);
  }

  #ofType(type: TypeName, schema: JsonSchema, path: string): Expression {
    switch (type) {
      case "string":
        return this.#string(schema, path);
      case "integer":
      case "number":
        return this.#number(type, schema, path);
      case "boolean":
        return choice(literal("true"), literal("false"));
      case "null":
        return literal("null");
      case "array":
        return this.#array(schema, path);
      case "object":
        return this.#object(schema, path);
    }
  }

  #string(schema: JsonSchema, path: string): Expression {
    const { pattern } = schema;
    const format = this.#formatOf(schema);
    const [least, most] = [this.#count(schema, "minLength", 0, path), this.#count(schema, "maxLength", Infinity, path)];
    if (pattern === undefined && format === undefined) return jsonString(least, most);
    if (least > 0 || most < Infinity) {
      throw this.#unsupported(path, `a length together with '${pattern === undefined ? "format" : "pattern"}'`);
    }
    return quoted(this.#patternOf(pattern, format, `${path}/pattern`));
  }

  /** A pattern with lookaround, such as that of zod for e-mail addresses, is replaced by the format beside it. */
  #patternOf(pattern: unknown, format: string | undefined, path: string): Expression {
    const options = { characters: characterInString, contains: true };
    const where = `${this.#where}: at '${path}'`;
    if (pattern === undefined) return regexExpression(format ?? "", where, options);
    if (typeof pattern !== "string") throw this.#invalid(path, "a string", pattern);
    try {
      return regexExpression(pattern, where, options);
    } catch (error) {
      if (format === undefined) throw error;
      return regexExpression(format, where, options);
    }
  }

  #formatOf({ format }: JsonSchema): string | undefined {
    return typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined;
  }

  #number(type: "number" | "integer", schema: JsonSchema, path: string): Expression {
    if (schema.multipleOf !== undefined && !(type === "integer" && schema.multipleOf === 1)) {
      throw this.#unsupported(path, "multipleOf");
    }
    const bound = (key: string, none: number) => this.#finite(schema, key, none, path);
    const [least, above] = [bound("minimum", -MAX_INTEGER), bound("exclusiveMinimum", -Infinity)];
    const [most, below] = [bound("maximum", MAX_INTEGER), bound("exclusiveMaximum", Infinity)];
    const integers = [
      Math.max(Math.ceil(least), Math.floor(above) + 1),
      Math.min(Math.floor(most), Math.ceil(below) - 1),
    ] as const;
    if (type === "integer") return jsonInteger(...integers);
    const exact = [schema.minimum, schema.maximum].filter(
      (value): value is number =>
        typeof value === "number" &&
        !Number.isInteger(value) &&
        value > above &&
        value < below &&
        value >= least &&
        value <= most,
    );
    return jsonNumber({ least: Math.max(least, above), most: Math.min(most, below), integers, exact });
  }

  #array(schema: JsonSchema, path: string): Expression {
    const { items, prefixItems } = schema;
    const [least, most] = [this.#count(schema, "minItems", 0, path), this.#count(schema, "maxItems", Infinity, path)];
    const isTuple = Array.isArray(items);
    const first = isTuple ? items : prefixItems === undefined ? [] : this.#list(prefixItems, `${path}/prefixItems`);
    const other =
      items === false ? undefined : this.read(isTuple || items === undefined ? true : items, `${path}/items`);
    const read = first.map((item, index) => this.read(item, `${path}/${isTuple ? "items" : "prefixItems"}/${index}`));
    return jsonArray(read, other, least, most);
  }

  #object(schema: JsonSchema, path: string): Expression {
    const { properties = {}, required = [], additionalProperties } = schema;
    if (!isObject(properties)) throw this.#invalid(`${path}/properties`, "an object", properties);
    const names = this.#list(required, `${path}/required`);
    const others = additionalProperties ?? true;
    const missing = names.filter(
      (name): name is string => typeof name === "string" && !Object.hasOwn(properties, name),
    );
    const all = [...Object.entries(properties), ...missing.map((name) => [name, others] as const)];
    const read = all.map(([name, value]): JsonProperty => {
      const place = `${path}/properties/${name}`;
      return { name, value: this.read(value, place), isRequired: names.includes(name) };
    });
    const writesOthers = additionalProperties === undefined ? all.length === 0 : additionalProperties !== false;
    return jsonObject(read, writesOthers ? this.read(others, `${path}/additionalProperties`) : undefined);
  }

  #reference(reference: unknown, path: string): Rule {
    const resolved = this.#resolved(reference, path);
    const key = String(reference);
    const found = this.#referenced.get(key);
    if (found) return found;
    const placeholder = rule(nothing);
    this.#referenced.set(key, placeholder);
    placeholder.body = this.read(resolved, key);
    return placeholder;
  }

  #resolved(reference: unknown, path: string): unknown {
    const place = `${path}/$ref`;
    if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
      throw this.#invalid(place, "a reference within the schema, such as '#/$defs/name'", reference);
    }
    let found: unknown = this.#root;
    for (const part of reference.split("/").slice(1)) {
      const key = decodedPart(part);
      if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) {
        throw this.#invalid(place, "a reference to a part of the schema", reference);
      }
      found = (found as JsonSchema)[key];
    }
    return found;
  }

  #withoutReference(schema: unknown, path: string, depth = 0): unknown {
    if (!isObject(schema) || schema.$ref === undefined || Object.keys(schema).length > 1) return schema;
    if (depth > MAX_DEPTH) throw this.#invalid(`${path}/$ref`, "a reference that ends", schema.$ref);
    return this.#withoutReference(this.#resolved(schema.$ref, path), path, depth + 1);
  }

  /** One schema for the values of both. Properties and required names are joined; other keywords may be in one only. */
  #merged(one: JsonSchema, other: unknown, path: string): JsonSchema {
    if (other === true) return one;
    if (!isObject(other)) throw this.#invalid(path, "an object to combine with others", other);
    if ((isClosed(one) && other.properties) || (isClosed(other) && one.properties)) {
      throw this.#unsupported(path, "'additionalProperties' in one of several combined schemas");
    }
    const merged: Record<string, unknown> = { ...one };
    for (const [key, value] of Object.entries(other)) {
      const own = merged[key];
      if (own === undefined || JSON.stringify(own) === JSON.stringify(value)) merged[key] = value;
      else if (key === "required" && Array.isArray(own) && Array.isArray(value)) merged[key] = [...own, ...value];
      else if (key === "properties" && isObject(own) && isObject(value)) merged[key] = this.#merged(own, value, path);
      else if (!annotations.has(key) || key === "definitions") throw this.#unsupported(path, `two values of '${key}'`);
    }
    return merged;
  }

  /** Each pair of options must differ in its types, or in the fixed value of a property that both require. */
  #expectDisjoint(options: readonly unknown[], path: string): void {
    const isDisjoint = options.every((one, index) =>
      options.slice(index + 1).every((other) => areDisjoint(one, other)),
    );
    if (!isDisjoint) throw this.#unsupported(path, "options that may overlap (use anyOf, or a property with a const)");
  }

  #list(value: unknown, path: string): readonly unknown[] {
    if (Array.isArray(value)) return value;
    throw this.#invalid(path, "a list", value);
  }

  #count(schema: JsonSchema, key: string, none: number, path: string): number {
    const value = this.#finite(schema, key, none, path);
    if (value === none || (Number.isInteger(value) && value >= 0)) return value;
    throw this.#invalid(`${path}/${key}`, "an integer of at least 0", value);
  }

  #finite(schema: JsonSchema, key: string, none: number, path: string): number {
    const value = schema[key];
    if (value === undefined) return none;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw this.#invalid(`${path}/${key}`, "a number", value);
  }

  #invalid(path: string, expected: string, got: unknown): EpalmError {
    return unexpected(
      "invalid_option",
      `${this.#where}: at '${path}'`,
      expected,
      excerpt(JSON.stringify(got) ?? "none"),
    );
  }

  #unsupported(path: string, what: string): EpalmError {
    return new EpalmError("invalid_option", `${this.#where}: at '${path}': ${excerpt(what)} is not supported`);
  }
}

function isClosed({ additionalProperties }: JsonSchema): boolean {
  return additionalProperties !== undefined;
}

function definedOf(schema: JsonSchema): JsonSchema {
  return Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
}

function areDisjoint(one: unknown, other: unknown): boolean {
  if (!isObject(one) || !isObject(other)) return false;
  const [mine, theirs] = [typesOf(one), typesOf(other)];
  if (mine.length > 0 && theirs.length > 0 && !mine.some((type) => theirs.includes(type))) return true;
  if (!isObject(one.properties) || !isObject(other.properties)) return false;
  const both = [one, other].map(({ required }) => (Array.isArray(required) ? required : []));
  const [ownProperties, properties] = [one.properties, other.properties];
  return Object.keys(ownProperties).some((name) => {
    if (!both.every((required) => required.includes(name))) return false;
    const [own, values] = [fixedValues(ownProperties[name]), fixedValues(properties[name])];
    return own !== undefined && values !== undefined && !own.some((value) => values.includes(value));
  });
}

/** Number and integer overlap. */
function typesOf({ type }: JsonSchema): string[] {
  const types = Array.isArray(type) ? type : [type];
  return types.flatMap((one) => (typeof one === "string" ? [one === "integer" ? "number" : one] : []));
}

function fixedValues(schema: unknown): string[] | undefined {
  if (!isObject(schema)) return undefined;
  const values = "const" in schema ? [schema.const] : schema.enum;
  return Array.isArray(values) ? values.map((value) => JSON.stringify(value)) : undefined;
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTypeName(value: unknown): value is TypeName {
  return typeof value === "string" && Object.hasOwn(keywords, value);
}

function isOfType(value: unknown, type: TypeName): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

/** A part of a JSON pointer in a fragment. */
function decodedPart(part: string): string {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return part;
  }
}
