import { join } from "node:path";
import { GraphBuilder } from "../src/graph/builder.js";
import { writeOnnx } from "../src/graph/onnx-writer.js";
import { frozenDecoder } from "../src/model/frozen-decoder.js";
import { adapterWidths, openModelFolder } from "../src/model/model-folder.js";
import { openSession } from "../src/runtime/session.js";
import { adapterStep } from "./adapter-step.js";
import { measureSteps, printAndExit } from "./measure-steps.js";
import type { StepCost, StepSettings } from "./training.js";

/** The process behind `npm run bench -- training`: trains an adapter for some steps and prints their cost as JSON. */

async function measure(path: string, work: string, bench: StepSettings): Promise<StepCost> {
  const model = await openModelFolder(path, { checksums: false });
  const g = new GraphBuilder("training");
  const sizes = { widths: adapterWidths(model.manifest), depth: model.manifest.encoder.depth };
  const step = adapterStep(g, frozenDecoder(model, g), sizes, bench);
  writeOnnx(step.graph, join(work, "training.onnx"), { packTables: false });
  const session = await openSession(join(work, "training.onnx"), { threads: bench.threads });
  return measureSteps(bench, () => step.run(session));
}

const [path = "", work = "", settings = ""] = process.argv.slice(2);
await printAndExit(() => measure(path, work, JSON.parse(settings)));
