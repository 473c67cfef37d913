import { EpalmError } from "../../core/errors.js";
import type { BadExample } from "./example.js";

/** Named in an error's message; the rest is counted, so that the message stays readable. */
const NAMED = 5;

export interface SkipOptions {
  /** Leaves bad examples out and lists them, instead of throwing. Default: false. */
  readonly skipBad?: boolean | undefined;
}

/**
 * Lets a data set pass, or refuses it: for what is bad in it, unless that is to be skipped; and if nothing is good.
 *
 * @param name what the error calls the data set
 * @throws invalid_data
 */
export function refuseBadExamples(
  name: string,
  good: number,
  bad: readonly BadExample[],
  { skipBad = false }: SkipOptions,
): void {
  if (good > 0 && (bad.length === 0 || skipBad)) return;
  if (bad.length === 0) throw new EpalmError("invalid_data", `${name}: expected examples, got none`);
  const named = bad.slice(0, NAMED).map(({ where, cause }) => `${where}: ${cause}`);
  const rest = bad.length > NAMED ? [`and ${bad.length - NAMED} more`] : [];
  const count = `${bad.length} of ${good + bad.length} examples cannot be used`;
  throw new EpalmError("invalid_data", `${name}: ${count}: ${[...named, ...rest].join("; ")}`);
}
