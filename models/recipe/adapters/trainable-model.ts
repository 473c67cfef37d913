import { existsSync } from "node:fs";
import { buildModel, type Modality } from "../../../src/index.js";

/**
 * Builds a model folder from the backbones of a built one, for training: the encoder of one modality as it is, and the
 * decoder in fp32, because gradients need it and answers then do not depend on the other requests of a batch. Keeps an
 * existing folder.
 */
export async function makeTrainableModel(
  model: string,
  { output, modality, say }: { output: string; modality: Modality; say(what: string): void },
): Promise<void> {
  if (existsSync(output)) return;
  const source = { path: model, given: model, precision: "fp32" as const };
  await buildModel({
    output,
    encoder: { ...source, modality, preprocessing: "source" },
    decoder: source,
    adapters: [],
    onStage: say,
  });
}
