import type { Model } from "../../src/index.js";

/** Steps of a model's decoder, when there are no more. */
export async function settledSteps(model: Model): Promise<number> {
  for (let last = -1; ; ) {
    const { steps } = (await model.counts()).decoder;
    if (steps === last) return steps;
    last = steps;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
