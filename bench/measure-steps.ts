import { messageOf } from "../src/core/errors.js";
import { peakResidentBytes } from "../src/runtime/peak-resident-bytes.js";
import type { StepCost } from "./training.js";

/**
 * Measures steps of a training in this process.
 *
 * @param step returns the milliseconds of it that were spent inside ONNX Runtime
 */
export async function measureSteps(
  { warmups, rounds }: { readonly warmups: number; readonly rounds: number },
  step: () => Promise<number>,
): Promise<StepCost> {
  const cost = { steps: [] as number[], processor: [] as number[], runs: [] as number[] };
  for (let round = 0; round < warmups + rounds; round++) {
    const [started, used] = [performance.now(), process.cpuUsage()];
    const inside = await step();
    if (round < warmups) continue;
    const { user, system } = process.cpuUsage(used);
    cost.steps.push(performance.now() - started);
    cost.processor.push((user + system) / 1000);
    cost.runs.push(inside);
  }
  return { ...cost, peakBytes: peakResidentBytes() };
}

/** Prints the result of a process as JSON, or its error, and ends the process. */
export async function printAndExit(result: () => Promise<unknown>): Promise<void> {
  try {
    console.log(JSON.stringify(await result()));
    process.exit(0);
  } catch (error) {
    console.error(messageOf(error));
    process.exit(1);
  }
}
