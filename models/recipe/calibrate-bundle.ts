import { join } from "node:path";
import { formatCalibration } from "../../src/cli/actions/calibrate.js";
import { calibrateModel, modalitiesOf, readEvaluationData, readManifest } from "../../src/index.js";
import { type MakeOptions, makeSet } from "./data/data-sets.js";

/** Examples of each task on which confidence is measured, per medium of the set. */
const CONFIDENCE_SHARE = 1;

/**
 * Stores in the adapters of a built model folder what the familiarity and the confidence of their answers are computed
 * from, measured on the set `calibration` of each modality. Nothing is trained.
 */
export async function calibrateBundle(
  folder: string,
  options: MakeOptions & { readonly modalities?: readonly string[] | undefined },
): Promise<void> {
  for (const modality of modalitiesOf(readManifest(folder))) {
    if (options.modalities && !options.modalities.includes(modality)) continue;
    const set = await makeSet(modality, "calibration", options);
    const files = ["captions.jsonl", "questions.jsonl"].map((file) => readEvaluationData({ path: join(set, file) }));
    const examples = (await Promise.all(files)).flatMap((data) => data.examples);
    await calibrateModel(folder, examples, {
      confidenceExamples: CONFIDENCE_SHARE * new Set(examples.map(({ media }) => media.path)).size,
      onAdapter: (name, report) => options.say(`${name}\n${formatCalibration(report)}`),
    });
  }
}
