import { join } from "node:path";
import { buildModel } from "../../src/index.js";
import { severalModel } from "./several-model.js";
import { temporaryFolder } from "./tiny-model.js";

/**
 * Builds a tiny model that takes pictures, sounds and videos, with an adapter for each: `pictures`, `sounds` and
 * `clips`, all of both tasks. In fp32, so that the same is computed beside whatever else runs.
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
