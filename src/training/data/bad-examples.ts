import { EpalmError } from "../../core/errors.js";
import type { BadExample } from "./example.js";

/** Maximum number of bad examples that an error names; it only counts the rest, to stay readable. */
const NAMED = 5;

export interface SkipOptions {
  /** Skips and lists bad examples instead of throwing. Default: false. */
  readonly skipBad?: boolean | undefined;
}

/**
 * Rejects a data set that has bad examples, unless they are to be skipped, or that has no good ones.
 *
 * @param name name of the data set in the error
 * @throws invalid_data
 */
export function refuseBadExamples(
  name: string,
  good: number,
  bad: readonly BadExample[],
  { skipBad = false }: SkipOptions,
): void {
  if (good > 0 && (bad.length === 0 || skipBad)) return;
  if (bad.length === 0) throw new EpalmError("invalid_data", `${name}: expected at least one example, got none`);
  const named = bad.slice(0, NAMED).map(({ where, cause }) => `${where}: ${cause}`);
  const rest = bad.length > NAMED ? [`and ${bad.length - NAMED} more`] : [];
  const count = `${bad.length} of ${good + bad.length} examples cannot be used`;
  throw new EpalmError("invalid_data", `${name}: ${count}: ${[...named, ...rest].join("; ")}`);
}
