import type { GenerationPlan } from "../options.js";
import { beamSearch } from "./beam-search.js";
import { greedy, sampling } from "./sampling.js";
import type { StopRules } from "./stop-rules.js";
import type { Strategy } from "./strategy.js";

/** What a strategy needs to know of the decoder's tokens. */
export type StrategyTokens = Pick<StopRules, "eosTokenIds" | "decode">;

/** The strategy that a request's checked options ask for, at its beginning. */
export function createStrategy({ limits, search }: GenerationPlan, facts: StrategyTokens): Strategy {
  const rules: StopRules = { ...limits, ...facts };
  switch (search.method) {
    case "greedy":
      return greedy(rules);
    case "sampling":
      return sampling(search, rules);
    case "beams":
      return beamSearch(search, rules);
    default:
      return search satisfies never;
  }
}
