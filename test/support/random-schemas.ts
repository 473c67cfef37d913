import { randomStreams } from "../../src/core/random.js";

type Schema = Record<string, unknown>;

/** Random JSON schemas with all keywords that structured output supports; the same seed gives the same schema. */
export function randomSchema(seed: number): Schema {
  const [random = Math.random] = randomStreams(seed, 1);
  const below = (count: number) => Math.floor(random() * count);
  const oneOf = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  const names = ["a", "name", "größe", 'with "quotes"', "back\\slash", "日本", "tab\t", "colour", "col", ""];
  const patterns = [
    "^[a-z]{2,5}$",
    "x+y?",
    "^(cat|dog)s?$",
    "^[^a]$",
    "\\d{2}-\\d",
    '"\\\\',
    "^a.b$",
    "[äöü]$",
    "^\\w+@\\w+$",
  ];
  const values = ["red", 'a "b"', 3, -0.5, null, true, [1, "x"], { k: [] }, "\u2028\n"];

  const schema = (depth: number): Schema => {
    const simple = [string, integer, number, fixed, () => ({ type: oneOf(["boolean", "null"]) })];
    const nested = [object, object, array, array, options, nullable, anything, recursive];
    return oneOf(depth > 0 ? [...simple, ...nested] : simple)(depth - 1);
  };
  const string = (): Schema => {
    if (random() < 0.3) return { type: "string", pattern: oneOf(patterns) };
    if (random() < 0.3) return { type: "string", format: oneOf(["date", "email", "uuid", "ipv4", "unknown"]) };
    const least = below(4);
    return {
      type: "string",
      ...(random() < 0.5 ? { minLength: least } : {}),
      ...(random() < 0.5 ? { maxLength: least + below(30) } : {}),
    };
  };
  const integer = (): Schema => {
    const least = below(2000) - 1000;
    return {
      type: "integer",
      ...(random() < 0.6 ? { minimum: least } : {}),
      ...(random() < 0.6 ? { maximum: least + below(300) } : {}),
    };
  };
  const number = (): Schema => {
    const least = (below(400) - 200) / 4;
    return {
      type: "number",
      [oneOf(["minimum", "exclusiveMinimum"])]: least,
      [oneOf(["maximum", "exclusiveMaximum"])]: least + 2 + below(9),
    };
  };
  const fixed = (): Schema => {
    if (random() < 0.5) return { const: oneOf(values) };
    return { enum: Array.from({ length: 1 + below(4) }, () => oneOf(values)) };
  };
  const object = (depth: number): Schema => {
    const own = names.filter(() => random() < 0.3);
    const additional = oneOf([undefined, undefined, false, true, schema(0)]);
    return {
      type: "object",
      title: "an annotation",
      properties: Object.fromEntries(own.map((name) => [name, schema(depth)])),
      required: own.filter(() => random() < 0.6),
      ...(additional === undefined ? {} : { additionalProperties: additional }),
    };
  };
  const array = (depth: number): Schema => {
    const first = Array.from({ length: 1 + below(2) }, () => schema(depth));
    const least = below(3);
    return {
      type: "array",
      items: schema(depth),
      ...(random() < 0.3 ? { prefixItems: first } : {}),
      ...(random() < 0.6 ? { minItems: least } : {}),
      ...(random() < 0.6 ? { maxItems: least + below(4) } : {}),
    };
  };
  const options = (depth: number): Schema => ({ anyOf: Array.from({ length: 1 + below(3) }, () => schema(depth)) });
  const nullable = (): Schema => ({ type: ["string", "null"] });
  const anything = (): Schema => (random() < 0.5 ? {} : { type: "object" });
  const recursive = (): Schema => ({ $ref: "#/$defs/tree" });
  return {
    ...schema(3),
    $defs: {
      tree: {
        type: "object",
        properties: { leaf: { type: "string" }, trees: { type: "array", items: { $ref: "#/$defs/tree" } } },
        required: ["trees"],
        additionalProperties: false,
      },
    },
  };
}
