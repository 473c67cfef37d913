import type { GenerationPlan } from "../options.js";
import { beamSearch } from "./beam-search.js";
import { greedy, sampling } from "./sampling.js";
import type { StopRules } from "./stop-rules.js";
import type { Strategy } from "./strategy.js";
import type { RankingRules, TokenRestriction } from "./token-ranking.js";

/** The properties of the decoder's tokens that a strategy needs. */
export interface StrategyTokens extends Pick<StopRules, "eosTokenIds" | "decode"> {
  /** Text tokens of the prompt, which are repeated for the repetition penalty. Default: none. */
  readonly prompt?: readonly number[];
  /** The biases by token id. Default: none. */
  readonly biases?: ReadonlyMap<number, number>;
  /** Default: none. */
  readonly constraint?: TokenRestriction | undefined;
}

/** Creates the strategy that the checked options of a request select. */
export function createStrategy(
  { limits, search, penalties, topLogprobs = 0 }: GenerationPlan,
  { prompt = [], biases = new Map(), ...facts }: StrategyTokens,
): Strategy {
  const rules: RankingRules = {
    ...limits,
    ...facts,
    prompt,
    penalties: penalties && { ...penalties, biases },
    alternatives: topLogprobs,
  };
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
