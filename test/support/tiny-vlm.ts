import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildVlm, type Manifest } from "../../src/index.js";

/** Tiny vision-language models in public forms, with the results of transformers. */
export const VLMS = "test/fixtures/vlms";

/** The photograph of the fixtures. */
export const VLM_PHOTO = "test/fixtures/media/photo-64x48.png";

/** Builds a fixture, or a copy of one, with weights in fp32. */
export function buildTinyVlm(form: string, output: string): Promise<Manifest> {
  const path = existsSync(form) ? form : join(VLMS, form);
  const tokenizer = existsSync(join(path, "tokenizer")) ? { tokenizer: join(path, "tokenizer") } : {};
  const precisions = { encoderPrecision: "fp32", decoderPrecision: "fp32" } as const;
  return buildVlm({ output, vlm: { path, given: path, ...precisions, ...tokenizer }, adapters: [] });
}

/** Copies a fixture and changes one of its JSON files. */
export function changedVlm(form: string, folder: string, change: (json: Json) => void, file = "config.json"): string {
  cpSync(join(VLMS, form), folder, { recursive: true });
  const path = join(folder, file);
  const json: Json = JSON.parse(readFileSync(path, "utf8"));
  change(json);
  writeFileSync(path, JSON.stringify(json));
  return folder;
}

/** A JSON object whose nested objects can be changed. */
export type Json = Record<string, unknown> & {
  readonly vision_config: Record<string, unknown>;
  readonly text_config: Record<string, unknown>;
};
