import type { Tensor } from "../../src/tensor/tensor.js";
import { paddedBatchFeeds } from "../../src/training/adapter/padded-batch.js";
import type { GoldenDecoder, SlotConditioning } from "../support/golden-decoder.js";

/**
 * Log-probabilities of all tokens after a text, from one run over the whole text with the inputs of training, without
 * the cache and the scheduler.
 */
export async function nextLogProbs(
  { decoder: { shape }, session }: GoldenDecoder,
  { perception, softPrompt }: SlotConditioning,
  text: readonly number[],
): Promise<Float32Array> {
  if (!perception || !softPrompt) throw new RangeError("a full forward pass requires conditioning");
  const { states, plan } = perception;
  const sequence = (data: readonly number[]): Tensor => ({
    type: "int64",
    shape: [1, data.length],
    data: BigInt64Array.from(data, BigInt),
  });
  const texts = { ids: sequence(text), mask: sequence(text.map(() => 1)) };
  const feeds = paddedBatchFeeds(texts, { ...states, shape: [1, ...states.shape] }, softPrompt, plan, shape);
  const { logits, log_normalizer } = await session.run(feeds, ["logits", "log_normalizer"]);
  const normalizer = Number(log_normalizer?.data.at(-1));
  const ofAll = logits?.data as Float32Array;
  return ofAll.slice(-shape.vocabulary).map((logit) => logit - normalizer);
}

/** Log-probability of each token of an answer, each from a separate run over all preceding tokens. */
export async function answerLogProbs(
  golden: GoldenDecoder,
  conditioning: SlotConditioning,
  prompt: readonly number[],
  answer: readonly number[],
): Promise<number[]> {
  const logProbs: number[] = [];
  for (const [known, token] of answer.entries()) {
    const after = await nextLogProbs(golden, conditioning, [...prompt, ...answer.slice(0, known)]);
    logProbs.push(after[token] ?? Number.NaN);
  }
  return logProbs;
}
