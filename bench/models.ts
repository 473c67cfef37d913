import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Precision } from "../src/core/precision.js";
import type { BuildOptions } from "../src/model/build-options.js";
import { runInFreshProcess } from "./fresh-process.js";
import type { Context } from "./measurement.js";
import { clipLarge, qwen3Small, writePublicModel } from "./public-shapes.js";
import {
  writeOpt125m,
  writeOpt350m,
  writeOpt1300m,
  writeOpt2700m,
  writeRandomAdapter,
  writeSmolLm135m,
  writeVitBase,
} from "./random-model.js";

/** The measured models. They are built when they are first requested and kept in the benchmark's folder. */

const sources = {
  opt: writeOpt125m,
  opt350m: writeOpt350m,
  opt1300m: writeOpt1300m,
  opt2700m: writeOpt2700m,
  smol: writeSmolLm135m,
  qwen3: (folder: string) => writePublicModel(folder, qwen3Small),
  vit: writeVitBase,
  clip: (folder: string) => writePublicModel(folder, clipLarge),
} as const;
type SourceName = keyof typeof sources;

const encoders = { vit: { title: "ViT-B/16", width: 768 }, clip: { title: "CLIP ViT-L/14", width: 1024 } } as const;

/** Each with its encoder. Adapters inject six states into the upper layers, as the published configs do. */
const decoders = {
  opt: { title: "opt-125m", encoder: "vit", width: 768, startLayer: 5, endLayer: 11 },
  opt350m: { title: "OPT of 350M", encoder: "vit", width: 1024, startLayer: 17, endLayer: 23 },
  opt1300m: { title: "OPT-1.3B", encoder: "vit", width: 2048, startLayer: 17, endLayer: 23 },
  opt2700m: { title: "OPT-2.7B", encoder: "vit", width: 2560, startLayer: 19, endLayer: 31 },
  smol: { title: "SmolLM2-135M", encoder: "vit", width: 576, startLayer: 19, endLayer: 29 },
  qwen3: { title: "Qwen3-0.6B", encoder: "clip", width: 1024, startLayer: 17, endLayer: 27 },
} as const;
export type DecoderName = keyof typeof decoders;

/** Where the adapter of a decoder injects its states. */
export function injectionOf(name: DecoderName): { injectedStates: number; startLayer: number; endLayer: number } {
  const { startLayer, endLayer } = decoders[name];
  return { injectedStates: 6, startLayer, endLayer };
}

/** The public name of the decoder's shape. */
export function decoderTitle(name: DecoderName): string {
  return decoders[name].title;
}

/** The public names of the shapes of encoder and decoder. */
export function modelTitle(name: DecoderName): string {
  return `${encoders[decoders[name].encoder].title} + ${decoders[name].title}`;
}

/** A checkpoint with random weights in its public format. */
export function sourceFolder({ folder, say }: Context, name: SourceName): string {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  say(`making random weights: ${path}`);
  const part = `${path}.part`;
  rmSync(part, { recursive: true, force: true });
  sources[name](part);
  renameSync(part, path);
  return path;
}

/** Options for building a decoder and its encoder in one precision. */
export function buildOptions(
  context: Context,
  name: DecoderName,
  precision: Precision,
  output: string,
): Omit<BuildOptions, "onStage"> {
  const { encoder, width } = decoders[name];
  const adapter = join(context.folder, `adapter-${name}.safetensors`);
  const [encoderPath, decoder] = [sourceFolder(context, encoder), sourceFolder(context, name)];
  if (!existsSync(adapter)) writeRandomAdapter(adapter, encoders[encoder].width, width);
  const settings = { ...injectionOf(name), perceptionSees: "itself" } as const;
  return {
    output,
    encoder: { path: encoderPath, given: encoder, precision, preprocessing: "published" },
    decoder: { path: decoder, given: name, precision },
    adapters: [{ name: "random", path: adapter, tasks: ["caption", "vqa"], settings }],
  };
}

/** A model folder that the current code has built; folders that other code built are removed. */
export async function modelFolder(context: Context, name: DecoderName, precision: Precision): Promise<string> {
  const prefix = `model-${name}-${precision}-`;
  const path = join(context.folder, prefix + builderDigest());
  if (existsSync(path)) return path;
  mkdirSync(context.folder, { recursive: true });
  for (const other of readdirSync(context.folder)) {
    if (other.startsWith(prefix)) rmSync(join(context.folder, other), { recursive: true });
  }
  const options = buildOptions(context, name, precision, path);
  context.say(`building: ${path}`);
  await runInFreshProcess({ kind: "build", options });
  return path;
}

/** Compiled folders of `src/` that affect the content of a model folder. */
const builderFolders = [
  "tensor",
  "graph",
  "layers",
  "formats",
  "backbones",
  "adapter",
  "tokenizer",
  "preprocessing",
  "model",
];

/** Short hash of the code that builds model folders, so that models from older code are not reused. */
function builderDigest(): string {
  const root = fileURLToPath(new URL("../src/", import.meta.url));
  const hash = createHash("sha256");
  for (const folder of builderFolders) {
    for (const name of readdirSync(join(root, folder)).sort()) {
      if (name.endsWith(".js")) hash.update(readFileSync(join(root, folder, name)));
    }
  }
  return hash.digest("hex").slice(0, 8);
}

/** Size in bytes of all files in a folder. */
export function folderBytes(path: string): number {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}
