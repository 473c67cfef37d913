import { extname } from "node:path";
import { InvalidArgumentError } from "commander";
import { EpalmError } from "../../core/errors.js";

/** The part of the inputs that one process takes: every `of`-th one, from `index` on, which counts from 0. */
export interface Shard {
  readonly index: number;
  readonly of: number;
}

/** More processes than a run has. The numbers in the names of parts have five digits. */
const MAX_SHARDS = 99_999;

/** `--shard 2/4`, or `--shard 4`, which takes its number from the environment. */
export interface ShardFlag {
  readonly number?: number;
  readonly of: number;
}

export function parseShard(text: string): ShardFlag {
  const [, first = "", second] = /^(\d{1,5})(?:\/(\d{1,5}))?$/.exec(text) ?? [];
  const of = Number(second ?? first);
  const number = second === undefined ? undefined : Number(first);
  if (first !== "" && of >= 1 && of <= MAX_SHARDS && (number === undefined || (number >= 1 && number <= of))) {
    return number === undefined ? { of } : { number, of };
  }
  throw new InvalidArgumentError("Expected i/n, with i from 1 to n, or n.");
}

/**
 * @param jobIndex `JOB_COMPLETION_INDEX`, which Kubernetes sets in the pods of an Indexed Job and counts from 0
 * @throws invalid_option if the number of the shard is in neither place, or out of range
 */
export function shardOf({ number, of }: ShardFlag, jobIndex: number | undefined): Shard {
  if (number !== undefined) return { index: number - 1, of };
  if (jobIndex !== undefined && jobIndex < of) return { index: jobIndex, of };
  const got = jobIndex === undefined ? "none" : String(jobIndex);
  const expected = `i/n, or JOB_COMPLETION_INDEX from 0 to ${of - 1}`;
  throw new EpalmError("invalid_option", `--shard: expected ${expected}, got ${got}`);
}

/** The name of a shard's part of an output: `captions.jsonl` becomes `captions-00002-of-00004.jsonl`. */
export function partName(path: string, { index, of }: Shard): string {
  const pattern = /-?%0?\d*d/.exec(path);
  const end = pattern?.index ?? path.length - extname(path).length;
  return `${path.slice(0, end)}-${digits(index + 1)}-of-${digits(of)}${path.slice(end)}`;
}

/** The shard of a part by its name; undefined for other files. */
export function shardOfPart(path: string): Shard | undefined {
  const [, number, of] = /-(\d{5})-of-(\d{5})(?=[^/]*$)/.exec(path) ?? [];
  return number === undefined ? undefined : { index: Number(number) - 1, of: Number(of) };
}

function digits(count: number): string {
  return String(count).padStart(5, "0");
}
