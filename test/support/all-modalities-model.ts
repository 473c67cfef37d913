import { join } from "node:path";
import { buildModel } from "../../src/index.js";
import { severalModel } from "./several-model.js";
import { temporaryFolder } from "./tiny-model.js";

/**
 * Builds a tiny model for images, audio and video, with one adapter per modality (`pictures`, `sounds`, `clips`), each
 * for both tasks. It is in fp32, so that results do not depend on other requests in the same batch.
 */
export async function buildAllSensesModel(output = join(temporaryFolder(), "model")): Promise<string> {
  const { encoder, otherEncoders = [], decoder, adapters, ...rest } = severalModel(output);
  const exact = { precision: "fp32" } as const;
  await buildModel({
    ...rest,
    encoder: { ...encoder, ...exact },
    otherEncoders: otherEncoders.map((other) => ({ ...other, ...exact })),
    decoder: { ...decoder, ...exact },
    adapters: adapters.map((adapter) => ({ ...adapter, tasks: ["caption", "vqa"] })),
  });
  return output;
}
