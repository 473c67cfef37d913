import { join } from "node:path";
import { type BuildOptions, buildModel } from "../../src/index.js";
import { temporaryFolder } from "./tiny-model.js";

const pictures = "test/fixtures/goldens/opt-shared-1token";

/** Of two states, as many as the tiny encoders of sounds and videos have blocks. */
const ADAPTER_OF_TWO = "test/fixtures/goldens/opt-timesformer/adapter.pth";

/**
 * Builds a tiny model that takes pictures, sounds and videos, with an adapter for each: `pictures`, `sounds` and
 * `clips`, all of both tasks. In fp32, so that the same is computed beside whatever else runs.
 */
export async function buildAllSensesModel(output = join(temporaryFolder(), "model")): Promise<string> {
  const source = (path: string) => ({ path, given: path, precision: "fp32" as const });
  const encoder = (path: string): BuildOptions["encoder"] => ({ ...source(path), preprocessing: "source" });
  const tasks = ["caption", "vqa"] as const;
  await buildModel({
    output,
    encoder: encoder(join(pictures, "encoder")),
    otherEncoders: [
      encoder("test/fixtures/backbones/ast"),
      { ...encoder("test/fixtures/backbones/timesformer"), frames: 2 },
    ],
    decoder: source(join(pictures, "decoder")),
    adapters: [
      { name: "sounds", path: ADAPTER_OF_TWO, tasks, modality: "audio" },
      { name: "clips", path: ADAPTER_OF_TWO, tasks, modality: "video" },
      { name: "pictures", path: join(pictures, "adapter.pth"), tasks },
    ],
  });
  return output;
}
