import { EpalmError, unexpected } from "../../core/errors.js";
import { choice, type Expression, literal, shortestStrings } from "./expression.js";
import { type JsonSchema, schemaExpression } from "./json-schema.js";
import { Matcher } from "./matcher.js";
import { regexExpression } from "./regex.js";

/** The form of a text. Exactly one member is set; the names are those of the options. */
export interface OutputConstraint {
  readonly guidedJson?: JsonSchema | undefined;
  readonly guidedRegex?: string | undefined;
  readonly guidedChoice?: readonly string[] | undefined;
}

/** In UTF-16 units of JSON. A schema of this size is read in less than 0.1 s. */
const MAX_SCHEMA = 65_536;

/** @throws invalid_option, also if no text of reasonable length has the form; too_large */
export function constraintMatcher(constraint: OutputConstraint): Matcher {
  const { guidedJson, guidedRegex, guidedChoice } = constraint;
  if (guidedJson !== undefined)
    return matcherOf(schemaExpression(boundedSchema(guidedJson), "guidedJson"), "guidedJson");
  if (guidedRegex !== undefined) return matcherOf(regexExpression(guidedRegex, "guidedRegex"), "guidedRegex");
  return matcherOf(choice(...(guidedChoice ?? []).map(literal)), "guidedChoice");
}

function boundedSchema(schema: JsonSchema): JsonSchema {
  const { length } = JSON.stringify(schema);
  if (length <= MAX_SCHEMA) return schema;
  throw unexpected("too_large", "guidedJson", `at most ${MAX_SCHEMA} UTF-16 units`, length);
}

function matcherOf(expression: Expression, where: string): Matcher {
  const shortest = shortestStrings(expression);
  if (shortest(expression) !== undefined) return new Matcher(expression, shortest);
  throw new EpalmError("invalid_option", `${where}: expected a form that a text of at most 64 kB can have`);
}
