import { join } from "node:path";
import { type Answer, load, type Model, type Precision } from "../../../src/index.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/**
 * Compares the device webgpu with the CPU for a model in the given precision, in a process whose environment has a
 * Vulkan driver; prints JSON. Arguments: folder for the model, precision, number of further requests.
 */

const [folder = "", given = "fp32", requests = "0"] = process.argv.slice(2);
const precision = given as Precision;

/** Largest difference from the CPU, in relation to the largest magnitude. */
function difference(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  const [a, b] = [Array.from(found), Array.from(expected)];
  const largest = (values: readonly number[]) => values.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  return largest(a.map((value, i) => value - (b[i] ?? Number.NaN))) / largest(b);
}

const tokens = (answers: readonly Answer[]) => answers.map(({ texts: [best] }) => best?.tokens);
const logProbs = (answers: readonly Answer[]) => answers.flatMap(({ texts: [best] }) => best?.logProbs ?? []);

/** Requests of different lengths, with and without a medium, and with different adapters. */
function requestsTo(model: Model, image: Uint8Array): (() => Promise<Answer>)[] {
  const options = { maxNewTokens: 6, minNewTokens: 6, beams: 1 };
  return [
    () => model.caption(image, options),
    () => model.vqa(image, "what is it?", options),
    () => model.vqa(image, "is it red?", { ...options, textOnly: true }),
    () => model.caption(image, { ...options, beams: 3 }),
  ];
}

async function inOrder(asks: readonly (() => Promise<Answer>)[]): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const ask of asks) answers.push(await ask());
  return answers;
}

const path = await buildTinyModel(join(folder, `tiny-${precision}`), precision);
const image = await picture();
const cpu = await load(path, { device: "cpu" });
const gpu = await load(path, { device: "webgpu" });
const expected = await inOrder(requestsTo(cpu, image));
const alone = await inOrder(requestsTo(gpu, image));
const together = await Promise.all(requestsTo(gpu, image).map((ask) => ask()));
const [states, reference] = [await gpu.encode(image), await cpu.encode(image)].map((one) => one.states.data);
let answered = 0;
const residentMegabytes: number[] = [];
for (; answered < Number(requests); answered++) {
  await gpu.vqa(image, `what is ${answered}?`, { maxNewTokens: 2, minNewTokens: 2, beams: 1 });
  if (answered % 20 === 19) residentMegabytes.push(Math.round(process.memoryUsage().rss / 1e6));
}
console.log(
  JSON.stringify({
    devices: [gpu.devices.encoder.device, gpu.devices.decoder.device],
    states: difference(states as Float32Array, reference as Float32Array),
    expected: tokens(expected),
    alone: tokens(alone),
    together: tokens(together),
    logProbs: difference(logProbs(together), logProbs(expected)),
    answered,
    residentMegabytes,
  }),
);
await Promise.all([cpu.close(), gpu.close()]);
