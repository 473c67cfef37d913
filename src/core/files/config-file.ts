import { readFileSync, statSync } from "node:fs";
import { Lexer, parse as parseYaml } from "yaml";
import type { z } from "zod";
import { EpalmError, fileNotFound, messageOf, unexpected } from "../errors.js";
import { parse } from "../schema.js";

/** Configs are written by hand and stay far below this size. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/** Configs are nested at most four deep; the bound keeps the recursive parser from exhausting the stack. */
const MAX_DEPTH = 64;

/**
 * Reads a YAML or JSON file and validates it against the schema.
 *
 * @throws `not_found`; `invalid_option` with file, key and cause
 */
export function readConfigFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> {
  return parse(schema, readYaml(path), path, "invalid_option");
}

/** The content of a YAML or JSON file. @throws `not_found`, `invalid_option` */
export function readYaml(path: string): unknown {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) throw fileNotFound(path);
  if (stats.size > MAX_CONFIG_BYTES) {
    throw new EpalmError("invalid_option", `${path}: expected at most ${MAX_CONFIG_BYTES} bytes, got ${stats.size}`);
  }
  try {
    const text = readFileSync(path, "utf8");
    expectShallow(text);
    return parseYaml(text);
  } catch (error) {
    throw new EpalmError("invalid_option", `${path}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Checks the nesting before the document is parsed. In block style, each level of mappings is indented further, and
 * lines may begin with several indicators (`- - - a`).
 *
 * @throws too_large
 */
function expectShallow(text: string): void {
  let depth = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === "[" || token === "{") depth++;
    else if (token === "]" || token === "}") depth--;
    if (depth > MAX_DEPTH) break;
  }
  // Two columns per level is the usual minimum; a level can be as short as one.
  const isDeep = depth > MAX_DEPTH || text.split("\n").some((line) => blockDepth(line) > MAX_DEPTH);
  if (isDeep) throw unexpected("too_large", "nesting", `at most ${MAX_DEPTH} levels`, "more");
}

/** An upper bound for the levels of a line's beginning; text in blocks may be indented further than its level. */
function blockDepth(line: string): number {
  const [beginning = ""] = /^ *(?:[-?:][ \t]+)*/.exec(line) ?? [];
  return Math.max(beginning.replace(/[ \t]/g, "").length, beginning.length / 4);
}
