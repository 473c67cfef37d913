import type { libraryNames } from "../wire.js";

/** Options of decoding by the client's name, and what the service calls each. */
type WireNames = {
  readonly [Wire in keyof typeof libraryNames as (typeof libraryNames)[Wire]]: Wire;
};

/**
 * The same table as `libraryNames`, the other way round. It stands here again because the client takes only types from
 * `wire.ts`, which brings zod; the type says that the two agree.
 */
export const wireNames: WireNames = {
  maxNewTokens: "max_tokens",
  minNewTokens: "min_tokens",
  beams: "beams",
  lengthPenalty: "length_penalty",
  earlyStopping: "early_stopping",
  temperature: "temperature",
  topP: "top_p",
  topK: "top_k",
  seed: "seed",
  stop: "stop",
  numReturnSequences: "n",
};

/** Fields of requests, by what the client calls them. */
const allNames: Readonly<Record<string, string>> = { ...wireNames, normalisation: "rank_by" };

const libraryFields = new Map(Object.entries(allNames).map(([library, wire]) => [wire, library]));

/** A field of a problem as the client calls it; an index after the name stays. */
export function libraryField(field: string): string {
  const [name = field] = /^\w+/.exec(field) ?? [];
  return (libraryFields.get(name) ?? name) + field.slice(name.length);
}
