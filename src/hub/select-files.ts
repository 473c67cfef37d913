import { WEIGHT_FORMATS } from "../formats/weight-formats.js";
import type { HubFile } from "./listing.js";

/** The files of a tokenizer. */
export const TOKENIZER_FILES = ["tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json"];

/** Files other than weights that building a model reads, and files that its licence requires to keep. */
const SUPPORTING_FILES = [
  "config.json",
  "generation_config.json",
  ...TOKENIZER_FILES,
  "preprocessor_config.json",
  "video_preprocessor_config.json",
  "processor_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "open_clip_config.json",
  "LICENSE*",
  "README.md",
];

/**
 * The files of a repository to download: those that match `patterns`, or by default the weights in one format and the
 * files that belong to them. Empty if there is nothing to build a model from.
 */
export function selectFiles(files: readonly HubFile[], patterns?: readonly string[]): HubFile[] {
  if (patterns) return matching(files, patterns);
  const format = WEIGHT_FORMATS.find(({ entry }) => files.some(({ path }) => path === entry));
  return format ? matching(files, [...SUPPORTING_FILES, ...format.files]) : [];
}

function matching(files: readonly HubFile[], patterns: readonly string[]): HubFile[] {
  const expressions = patterns.map(globExpression);
  return files.filter(({ path }) => expressions.some((expression) => expression.test(path)));
}

/** Converts a pattern in which `*` matches any characters except a slash. */
function globExpression(pattern: string): RegExp {
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^/]*")}$`);
}
