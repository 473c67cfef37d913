import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { optionSchemas } from "../../generation/options.js";
import { jsonSchema, openApiDocument } from "./openapi.js";

/** The parts of JSON Schema that the schemas of the service use. */
interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly $ref?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

const content = z.record(z.string(), z.object({ schema: z.custom<Schema>() }));
const operation = z.object({
  summary: z.string(),
  security: z.array(z.unknown()).optional(),
  requestBody: z.object({ content }).optional(),
  responses: z.object({ 200: z.object({ content }) }),
});
const document = z.object({
  paths: z.record(z.string(), z.record(z.string(), operation)),
  components: z.object({ schemas: z.record(z.string(), z.custom<Schema>()) }),
});

type Row = readonly [field: string, type: string, meaning: string];

const head = `# HTTP reference

<!-- Generated from the OpenAPI document of the service by \`npm run docs:http\`; do not edit. -->

A running service has the same reference at \`GET /openapi.json\` and, as an interactive page, at \`GET /docs\`.
[serving.md](serving.md) describes how to send requests, the meaning of each status, and the limits that an operator can
lower; the limits on this page are the maxima. Fields in **bold** are required.`;

/** The OpenAPI document as Markdown: `docs/http.md`. */
export function httpReference(): string {
  const { paths, components } = document.parse(openApiDocument("", true));
  const endpoints = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, known]) => endpoint(method, path, known)),
  );
  const schemas = Object.entries(components.schemas).map(([name, schema]) =>
    [`### ${name}`, ...(schema.description ? [schema.description] : []), fieldTable(schema)].join("\n\n"),
  );
  return `${[head, "## Endpoints", ...endpoints, "## Schemas", ...schemas].join("\n\n")}\n`;
}

/** The generation options of the library as a table for `docs/sdk.md`. */
export function optionReference(): string {
  return fieldTable(jsonSchema(z.object(optionSchemas)), "option");
}

function endpoint(method: string, path: string, known: z.infer<typeof operation>): string {
  const kinds = (of: z.infer<typeof content>) =>
    Object.entries(of).map(([type, { schema }]) => `\`${type}\`${nameOf(schema)}`);
  const lines = [
    ...(known.requestBody ? [`- request: ${kinds(known.requestBody.content).join("; or ")}`] : []),
    `- response: ${kinds(known.responses[200].content).join("; or ")}`,
    ...(known.security?.length === 0 ? ["- needs no key, even if the service has keys"] : []),
  ];
  return `### \`${method.toUpperCase()} ${path}\`\n\n${known.summary}.\n\n${lines.join("\n")}`;
}

/** Describes the schema of a body: named schemas by a link, a form by its difference to the JSON. */
function nameOf(schema: Schema): string {
  if (schema.properties)
    return " with the same fields; media are files, lists are repeated fields or `name[]`, and any field may be a part with JSON";
  if (schema.oneOf) return ` ${schema.oneOf.map((one) => typeOf(one)).join(" or ")}`;
  if (schema.$ref) return ` ${typeOf(schema)}`;
  return schema.description ? `: ${schema.description}` : "";
}

function fieldTable(schema: Schema, heading = "field"): string {
  const rows = fieldRows(schema, "");
  const table: readonly Row[] = [[heading, "type", ""], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(3, ...table.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const [first, ...others] = table;
  return [line(first ?? []), line(widths.map((width) => "-".repeat(width))), ...others.map(line)].join("\n");
}

/** The rows of a schema. Nested fields have paths such as `texts[].score`. */
function fieldRows({ properties = {}, required = [] }: Schema, prefix: string): Row[] {
  return Object.entries(properties).flatMap(([name, field]) => {
    const path = prefix + name;
    const shown = required.includes(name) ? `**\`${path}\`**` : `\`${path}\``;
    const row: Row = [shown, typeOf(field), inCell(field.description ?? "")];
    return [row, ...rowsWithin(field, path)];
  });
}

/** The rows for the fields of an object, of the objects in a list, or of each alternative. */
function rowsWithin(field: Schema, path: string): Row[] {
  const { properties, items, oneOf, anyOf } = field;
  if (properties) return fieldRows(field, `${path}.`);
  if (items) return rowsWithin(items, `${path}[]`);
  return (oneOf ?? anyOf ?? []).flatMap((one) => rowsWithin(one, path));
}

function typeOf(schema: Schema): string {
  const { $ref, enum: values, oneOf, anyOf, items, type } = schema;
  if ($ref) {
    const name = $ref.replace("#/components/schemas/", "");
    return `[${name}](#${name.toLowerCase()})`;
  }
  if ("const" in schema) return inCode(schema.const);
  if (values) return values.map(inCode).join(", ");
  const either = oneOf ?? anyOf;
  if (either) return Array.from(new Set(either.map(typeOf))).join(" or ");
  if (items) {
    const item = typeOf(items);
    const shown = /,| or /.test(item) ? `(${item})` : item;
    return `list of ${shown}${range(schema.minItems, schema.maxItems, " items")}`;
  }
  if (Array.isArray(type)) return type.map((one) => typeOf({ ...schema, type: one })).join(" or ");
  switch (type) {
    case undefined:
      return "any";
    case "string":
      return `string${range(schema.minLength, schema.maxLength, " characters")}`;
    case "integer":
    case "number":
      return `${type}${numberRange(schema)}`;
    case "boolean":
    case "object":
    case "null":
      return type;
    default:
      throw new EpalmError("internal", `HTTP reference: expected a type of JSON Schema, got '${type}'`);
  }
}

/** Omits the bounds that Zod adds to every integer. */
function numberRange({ minimum, maximum, exclusiveMinimum }: Schema): string {
  const least = minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum;
  const most = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (exclusiveMinimum !== undefined) return `, above ${exclusiveMinimum}, at most ${most}`;
  return range(least, most, "");
}

function range(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return "";
  if (most === undefined) return least === 1 && unit !== "" ? ", not empty" : `, at least ${least}${unit}`;
  return least === undefined ? `, at most ${most}${unit}` : `, ${least} to ${most}${unit}`;
}

function inCode(value: unknown): string {
  return `\`${JSON.stringify(value)}\``;
}

function inCell(text: string): string {
  return text.replaceAll("|", "\\|");
}
