import type { Model } from "../../src/index.js";

/** The number of steps of a model's decoder, once it no longer increases. */
export async function settledSteps(model: Model): Promise<number> {
  for (let last = -1; ; ) {
    const { steps } = (await model.counts()).decoder;
    if (steps === last) return steps;
    last = steps;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
