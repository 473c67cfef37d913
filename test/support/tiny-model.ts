import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { buildModel, type Precision } from "../../src/index.js";

/** Golden backbones and an adapter, from which the model folder is built. */
const GOLDEN = "test/fixtures/goldens/opt-6states-mlp10";

export const ADAPTER_FILE = join(GOLDEN, "adapter.pth");

const folders: string[] = [];
process.once("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Creates a folder that is deleted at the end of the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "epalm-server-"));
  folders.push(folder);
  return folder;
}

/** Builds a tiny model with the adapters `words` (captioning) and `answers` (VQA); returns its folder. */
export async function buildTinyModel(
  output = join(temporaryFolder(), "model"),
  precision: Precision = "fp32",
): Promise<string> {
  const source = (file: string) => ({ path: join(GOLDEN, file), given: file, precision });
  await buildModel({
    output,
    encoder: { ...source("encoder"), preprocessing: "source" },
    decoder: source("decoder"),
    adapters: [
      { path: ADAPTER_FILE, name: "words", tasks: ["caption"] },
      { path: ADAPTER_FILE, name: "answers", tasks: ["vqa"] },
    ],
  });
  return output;
}

/** Creates a PNG; different seeds give different images. */
export function picture(seed = 7, width = 60, height = 40): Promise<Buffer> {
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * seed) % 256);
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
