import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { readJsonFile } from "../core/json.js";
import { parse } from "../core/schema.js";

/** The file in the folder `samples/` of a model folder that says what the samples show. */
export const SAMPLE_NOTES = "samples.json";

/** Some lines per sample. */
const MAX_BYTES = 1024 * 1024;

const sampleNote = z.strictObject({
  /** A correct caption. */
  expected: z.string().min(1).max(1000),
  /** Whether the caption of the model is correct. */
  isCorrect: z.boolean(),
});

export type SampleNote = z.infer<typeof sampleNote>;

/**
 * Reads what a folder of samples says about them, by file name; empty without `samples.json`.
 *
 * @throws invalid_model
 */
export function readSampleNotes(folder: string): Readonly<Record<string, SampleNote>> {
  const path = join(folder, SAMPLE_NOTES);
  if (!existsSync(path)) return {};
  return parse(z.record(z.string(), sampleNote), readJsonFile(path, MAX_BYTES, "invalid_model"), path, "invalid_model");
}
