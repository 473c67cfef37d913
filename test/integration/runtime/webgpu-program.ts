import { join } from "node:path";
import { int } from "../../../src/graph/ir.js";
import { encodeOnnx } from "../../../src/graph/onnx-writer.js";
import { quantizeGraph } from "../../../src/graph/quantize.js";
import { type Answer, load, type Model } from "../../../src/index.js";
import { openSession } from "../../../src/runtime/session.js";
import { type GoldenRun, goldenDecoder, goldenEncoder } from "../../support/golden-graphs.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/** Compares the device webgpu with the CPU, in a process whose environment has a Vulkan driver; prints JSON. */

const TOLERANCE = 1e-4;
const REQUESTS = 200;

function close(found: ArrayLike<number>, expected: ArrayLike<number>): boolean {
  const largest = Array.from(expected).reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  return Array.from(expected).every((value, i) => Math.abs(value - Number(found[i])) <= TOLERANCE * largest);
}

const texts = (answers: readonly Answer[]) => answers.map(({ texts: [best] }) => best?.tokens);
const logProbs = (answers: readonly Answer[]) => answers.flatMap(({ texts: [best] }) => best?.logProbs ?? []);

/** Requests with and without a medium, and with different adapters. */
function requests(model: Model, image: Uint8Array): (() => Promise<Answer>)[] {
  const options = { maxNewTokens: 4, beams: 1 };
  return [
    () => model.caption(image, options),
    () => model.vqa(image, "what is it?", options),
    () => model.vqa(image, "is it red?", { ...options, textOnly: true }),
  ];
}

/** int4 with fp32 activations: on the CPU, epalm's own graphs compute with int8 activations. */
async function int4AgreesWithCpu(make: (name: string) => GoldenRun): Promise<boolean> {
  const { graph, feeds, output } = make("opt-shared-1token");
  const quantized = quantizeGraph(graph, { precision: "int4" });
  const nodes = quantized.nodes.map((node) =>
    node.op === "MatMulNBits" ? { ...node, attributes: { ...node.attributes, accuracy_level: int(1) } } : node,
  );
  const results: ArrayLike<number>[] = [];
  for (const device of ["cpu", "webgpu"] as const) {
    const session = await openSession(encodeOnnx({ ...quantized, nodes }), { device });
    results.push((await session.run(feeds, [output]))[output]?.data as Float32Array);
    await session.close();
  }
  const [expected = [], found = []] = results;
  return close(found, expected);
}

const folder = await buildTinyModel(join(process.argv[2] ?? "", "tiny"));
const image = await picture();
const cpu = await load(folder, { device: "cpu" });
const gpu = await load(folder, { device: "webgpu" });
const alone: Answer[] = [];
const expected: Answer[] = [];
for (const ask of requests(cpu, image)) expected.push(await ask());
for (const ask of requests(gpu, image)) alone.push(await ask());
const together = await Promise.all(requests(gpu, image).map((ask) => ask()));
const [states, reference] = [await gpu.encode(image), await cpu.encode(image)].map((one) => one.states.data) as [
  Float32Array,
  Float32Array,
];
let answered = 0;
for (; answered < REQUESTS; answered++) await gpu.vqa(image, `what is ${answered}?`, { maxNewTokens: 1, beams: 1 });
console.log(
  JSON.stringify({
    devices: [gpu.devices.encoder.device, gpu.devices.decoder.device],
    statesAgree: close(states, reference),
    sameTokens: JSON.stringify(texts(alone)) === JSON.stringify(texts(expected)),
    mixedBatchAgrees: JSON.stringify(texts(together)) === JSON.stringify(texts(alone)),
    logProbsAgree: close(logProbs(together), logProbs(expected)),
    int4: { encoder: await int4AgreesWithCpu(goldenEncoder), decoder: await int4AgreesWithCpu(goldenDecoder) },
    answered,
  }),
);
await Promise.all([cpu.close(), gpu.close()]);
