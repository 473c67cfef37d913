import { z } from "zod";
import { EpalmError, type ErrorCode, excerpt } from "./errors.js";

/** The parts of a JSON Schema that messages describe to users. */
interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly prefixItems?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

/** Longer values are truncated in messages. In UTF-16 code units. */
const MAX_SHOWN = 40;

/** Issues that one message lists. */
const MAX_ISSUES = 8;

/** JSON Schemas are generated when a value is rejected for the first time. */
const jsonSchemas = new WeakMap<z.ZodType, JsonSchema>();

/**
 * `schema.safeParse` with messages in the style of all other errors: what was expected, including its range, and what
 * was received. Messages that a schema defines itself remain unchanged.
 */
export function safeParse<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): z.ZodSafeParseResult<z.output<Schema>> {
  return schema.safeParse(value, { error: (issue) => messageOf(schema, issue) });
}

/**
 * Validates a value against the schema and fills in defaults; `where` names the value in the error.
 *
 * @throws `code`, with the key and the cause of every issue
 */
export function parse<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  where: string,
  code: ErrorCode,
): z.output<Schema> {
  const result = safeParse(schema, value);
  if (result.success) return result.data;
  throw new EpalmError(code, `${where}: ${allIssues(result.error)}`);
}

/** One part of a value that does not match its schema. */
export interface Issue {
  /** `limits.pixels`, `messages[0].role`; empty if the whole value does not match. */
  readonly key: string;
  readonly message: string;
}

/** All issues, in the order of the schema. */
export function issuesOf({ issues }: z.ZodError): Issue[] {
  return issues.flatMap((issue) => {
    const paths = issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
    return paths.map((path) => ({ key: formatPath(path), message: issue.message }));
  });
}

/** The first issue: `'limits.pixels': expected …`. */
export function firstIssue(error: z.ZodError): string {
  return formatIssues(issuesOf(error).slice(0, 1));
}

/** All issues on one line, at most `MAX_ISSUES` in full. */
export function allIssues(error: z.ZodError): string {
  const issues = issuesOf(error);
  const more = issues.length - MAX_ISSUES;
  return more > 0 ? `${formatIssues(issues.slice(0, MAX_ISSUES))}; and ${more} more` : formatIssues(issues);
}

function formatIssues(issues: readonly Issue[]): string {
  return issues.map(({ key, message }) => (key === "" ? message : `'${key}': ${message}`)).join("; ");
}

function formatPath(path: readonly PropertyKey[]): string {
  const parts = path.map((key) => (typeof key === "number" ? `[${key}]` : `.${excerpt(String(key))}`));
  return parts.join("").replace(/^\./, "");
}

function messageOf(schema: z.ZodType, issue: z.core.$ZodRawIssue): string {
  if (issue.code === "unrecognized_keys") return "is not a known key";
  if (issue.code === "invalid_key") return issue.issues[0]?.message ?? "is not a valid key";
  const place = at(jsonSchemaOf(schema), issue.path ?? []);
  return `expected ${place ? described(place) : "another value"}, got ${shown(wrongValue(issue), issue.code)}`;
}

/**
 * The value to report: the discriminator's value if that key selects the variant of a union, otherwise the value
 * itself.
 */
function wrongValue(issue: z.core.$ZodRawIssue): unknown {
  if (issue.code !== "invalid_union" || issue.discriminator === undefined) return issue.input;
  return Object(issue.input)[issue.discriminator];
}

function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  const known = jsonSchemas.get(schema);
  if (known) return known;
  const made = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    reused: "inline",
  }) as JsonSchema;
  jsonSchemas.set(schema, made);
  return made;
}

/** The schema of the value at a path. If several variants of a union have that path, any of them matches. */
function at(schema: JsonSchema, path: readonly PropertyKey[]): JsonSchema | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return schema;
  const options = schema.anyOf ?? schema.oneOf;
  if (options) {
    const found = options.flatMap((option) => at(option, path) ?? []);
    return found.length > 1 ? { anyOf: found } : found[0];
  }
  const child = typeof key === "number" ? (schema.prefixItems?.[key] ?? schema.items) : member(schema, key);
  return child && at(child, rest);
}

function member({ properties, additionalProperties }: JsonSchema, key: PropertyKey): JsonSchema | undefined {
  const name = String(key);
  if (properties && Object.hasOwn(properties, name)) return properties[name];
  return typeof additionalProperties === "object" ? additionalProperties : undefined;
}

function described(schema: JsonSchema): string {
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return either(schema.enum.map((value) => JSON.stringify(value)));
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return either([...new Set(options.map(described))]);
  switch (schema.type) {
    case "integer":
      return `an integer${range(schema)}`;
    case "number":
      return `a number${range(schema)}`;
    case "string":
      return `a string${counted("character", schema.minLength, schema.maxLength)}`;
    case "array":
      return `a list${counted("value", schema.minItems, schema.maxItems)}`;
    case "boolean":
      return "true or false";
    case "object":
      return "an object";
    case "null":
      return "null";
    default:
      return "another value";
  }
}

function either(options: readonly string[]): string {
  const last = options.at(-1) ?? "nothing";
  return options.length > 1 ? `${options.slice(0, -1).join(", ")} or ${last}` : last;
}

/** Bounds that zod adds only because integers must be safe are omitted. */
function range(schema: JsonSchema): string {
  const least = schema.minimum === Number.MIN_SAFE_INTEGER ? undefined : schema.minimum;
  const most = schema.maximum === Number.MAX_SAFE_INTEGER ? undefined : schema.maximum;
  const { exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  if (least !== undefined && most !== undefined) return ` from ${least} to ${most}`;
  const bounds = [
    ...(above === undefined ? [] : [`above ${above}`]),
    ...(least === undefined ? [] : [`of at least ${least}`]),
    ...(below === undefined ? [] : [`below ${below}`]),
    ...(most === undefined ? [] : [`of at most ${most}`]),
  ];
  return bounds.length > 0 ? ` ${bounds.join(" and ")}` : "";
}

function counted(what: string, least: number | undefined, most: number | undefined): string {
  const plural = (count: number) => `${count} ${what}${count === 1 ? "" : "s"}`;
  if (most !== undefined) {
    return least === most ? ` of ${plural(most)}` : ` of ${least ?? 0} to ${plural(most)}`;
  }
  return least === undefined ? "" : ` of at least ${plural(least)}`;
}

/** A short form of a value; its length if it is too long or too short. */
function shown(value: unknown, code: z.core.$ZodRawIssue["code"]): string {
  const isCounted = code === "too_big" || code === "too_small";
  if (Array.isArray(value)) return isCounted ? `${value.length}` : "a list";
  switch (typeof value) {
    case "undefined":
      return "nothing";
    case "string":
      if (isCounted) return `${value.length}`;
      return JSON.stringify(excerpt(value, MAX_SHOWN));
    case "object":
      return value === null ? "null" : "an object";
    default:
      return String(value);
  }
}
