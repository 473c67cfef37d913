import { VISUAL_TOKENS_INPUT } from "../adapter/decoder-graph.js";
import type { DecoderShape } from "../backbones/backbone.js";
import { EpalmError } from "../core/errors.js";
import type { Feeds, Session } from "../runtime/session.js";
import type { Tensor } from "../tensor/tensor.js";
import { CacheMirror } from "./cache-mirror.js";
import { type KeptColumns, KeyValueCache } from "./key-value-cache.js";
import { PrefixCache } from "./prefix-cache.js";
import { isCacheable, pendingCount } from "./sequence.js";
import type { ScheduledSequence, StepOutput, StepPlan } from "./step.js";
import { columnsOf, stepInputs } from "./step-inputs.js";
import type { NextLogits, NextTokens } from "./strategies/strategy.js";

/** The decoder graph with its KV cache. Runs the steps that a scheduler plans. */
export class Decoder {
  readonly shape: DecoderShape;
  /** Beginnings of earlier prompts; they outlive `clear`. */
  readonly prefixes = new PrefixCache();
  readonly #session: Session;
  readonly #cache: KeyValueCache;
  readonly #mirror: CacheMirror | undefined;

  constructor(session: Session, shape: DecoderShape) {
    this.shape = shape;
    this.#session = session;
    this.#cache = new KeyValueCache(shape);
    this.#mirror = CacheMirror.of(session, shape, this.#cache);
  }

  get cacheBytes(): number {
    return this.#cache.bytes;
  }

  /** Computes and caches the sequences of a plan. Returns one output per active sequence, in order. */
  async step(plan: StepPlan): Promise<StepOutput[]> {
    const { scheduled, first } = plan;
    this.#cache.reorder(plan.sources, plan.cachedLengths);
    this.#mirror?.reorder(plan.sources);
    this.#cache.reserve(plan.sources.length, Math.max(...plan.cachedLengths, ...scheduled.map(endTime)));
    for (const { index, key } of plan.restored ?? []) {
      const prefix = this.prefixes.take(key);
      if (!prefix) throw new EpalmError("internal", "a prefix that a step continues is not kept");
      this.#cache.restore(index, prefix);
    }
    const empty = scheduled.every(({ sequence }) => sequence.cached === 0);
    const top = Math.max(1, ...scheduled.map((entry) => this.#wanted(entry)));
    const inputs = stepInputs(scheduled, this.shape, this.#cache.time(empty), top);
    // A mirror adds one column per step, and an empty cache is not worth one.
    const mirror = !empty && inputs.feeds.input_ids?.shape[1] === 1 ? this.#mirror : undefined;
    const held = mirror && (await mirror.feeds(first, plan.cachedLengths.slice(first, first + scheduled.length)));
    const past = held ? {} : this.#cache.feeds(first, scheduled.length, empty);
    const needsLogits = scheduled.some(({ active, needs }) => active && needs.kind === "logits");
    const outputs = needsLogits ? [...fetches, "logits"] : fetches;
    const results = await this.#session.run({ ...this.#known(inputs.feeds), ...past }, outputs, held);
    const fresh = results.new_keys_values as Tensor;
    const kept = scheduled.flatMap((entry, index) => keptColumns(entry, index, first));
    this.#cache.append(fresh, kept);
    if (mirror) await mirror.append(fresh, kept);
    else this.#mirror?.forget(kept);
    for (const { index, key, count } of plan.kept ?? []) this.prefixes.put(key, this.#cache.prefixOf(index, count));
    return this.#outputs(scheduled, inputs.scoredCounts, results, top);
  }

  /** Graphs of earlier versions have no input for tokens with a position; there, only text has one. */
  #known(feeds: Feeds): Feeds {
    if (this.#session.inputNames.includes(VISUAL_TOKENS_INPUT)) return feeds;
    const { [VISUAL_TOKENS_INPUT]: _unknown, ...known } = feeds;
    return known;
  }

  /** The number of most probable tokens that a sequence needs. */
  #wanted({ active, needs }: ScheduledSequence): number {
    return active && needs.kind === "next" ? Math.min(needs.count, this.shape.vocabulary) : 0;
  }

  #outputs(
    scheduled: readonly ScheduledSequence[],
    scoredCounts: readonly number[],
    results: Readonly<Record<string, Tensor>>,
    top: number,
  ): StepOutput[] {
    const numbers = (name: string) => results[name]?.data as Float32Array;
    const [logits, normalizers, targets] = [numbers("top_logits"), numbers("log_normalizer"), numbers("target_logits")];
    const ids = results.top_ids?.data as BigInt64Array;
    let at = 0;
    return scheduled.flatMap((entry, index) => {
      const start = at;
      at += scoredCounts[index] ?? 0;
      if (!entry.active) return [];
      const normalized = (logit: number, place: number) => logit - (normalizers[place] as number);
      const ofTargets = entry.needs.kind === "targets" ? Array.from(targets.subarray(start, at)) : [];
      return {
        targetLogProbs: ofTargets.map((logit, i) => normalized(logit, start + i)),
        next:
          entry.needs.kind === "logits"
            ? this.#logits(numbers("logits"), normalizers[start] as number, start)
            : bestTokens(logits, ids, normalizers[start] as number, this.#wanted(entry), start * top),
      };
    });
  }

  /** A copy of the logits of one scored token, so that those of the others are not kept. */
  #logits(all: Float32Array, normalizer: number, at: number): NextLogits {
    const { vocabulary } = this.shape;
    return { logits: all.slice(at * vocabulary, (at + 1) * vocabulary), normalizer };
  }

  /** Forgets all sequences and frees their memory. */
  clear(): void {
    this.#cache.clear();
    this.#mirror?.clear();
  }

  close(): Promise<void> {
    this.#mirror?.clear();
    return this.#session.close();
  }
}

const fetches = ["new_keys_values", "top_logits", "top_ids", "log_normalizer", "target_logits"];

/** Cached elements of a sequence after the step. */
function endTime({ sequence, active, count = pendingCount(sequence) }: ScheduledSequence): number {
  return active && isCacheable(sequence.context) ? sequence.cached + count : sequence.cached;
}

function keptColumns(scheduled: ScheduledSequence, index: number, first: number): KeptColumns[] {
  const { sequence, active } = scheduled;
  if (!active || !isCacheable(sequence.context)) return [];
  const { first: from, end: to } = columnsOf(scheduled);
  return [{ cacheIndex: first + index, stepIndex: index, from, to, at: sequence.cached }];
}

function bestTokens(
  logits: Float32Array,
  ids: BigInt64Array,
  normalizer: number,
  count: number,
  start: number,
): NextTokens {
  const tokens = new Int32Array(count);
  const logProbs = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    tokens[i] = Number(ids[start + i]);
    logProbs[i] = (logits[start + i] as number) - normalizer;
  }
  return { tokens, logProbs };
}
