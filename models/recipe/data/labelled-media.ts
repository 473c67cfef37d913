import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Modality } from "../../../src/index.js";
import type { Labelled } from "../../../src/training/index.js";

export interface LabelledMedium extends Labelled {
  readonly path: string;
}

/** @param set folder of a set, with `labels.jsonl` */
export function readLabelledMedia(set: string, modality: Modality): LabelledMedium[] {
  const lines = readFileSync(join(set, "labels.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => {
    const parsed = JSON.parse(line) as Record<Modality, string> & Labelled;
    return { path: join(set, parsed[modality]), labels: parsed.labels };
  });
}
