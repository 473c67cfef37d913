import type { GenerationPlan } from "../options.js";
import { beamSearch } from "./beam-search.js";
import { greedy, sampling } from "./sampling.js";
import type { StopRules } from "./stop-rules.js";
import type { Strategy } from "./strategy.js";

/** The properties of the decoder's tokens that a strategy needs. */
export type StrategyTokens = Pick<StopRules, "eosTokenIds" | "decode">;

/** Creates the strategy that the checked options of a request select. */
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
