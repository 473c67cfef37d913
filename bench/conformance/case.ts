import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Tensor } from "../../src/tensor/tensor.js";
import { openGolden } from "./golden.js";

/** Settings in `case.json`. */
const caseSchema = z.object({
  injected_hidden_states: z.int(),
  start_layer_idx: z.int(),
  end_layer_idx: z.int(),
  perception_sees: z.enum(["everything", "itself"]),
  encoder: z.enum(["vit", "timesformer"]),
  encoder_heads: z.int(),
});

/** A folder of public files and the results of the reference implementation. */
export interface Case {
  readonly name: string;
  readonly folder: string;
  readonly settings: z.infer<typeof caseSchema>;
  /** A tensor of `golden.safetensors`. */
  golden(name: string): Tensor;
  has(name: string): boolean;
}

export function openCase(folder: string, name: string): Case {
  const settings = caseSchema.parse(JSON.parse(readFileSync(join(folder, "case.json"), "utf8")));
  const golden = openGolden(folder);
  return { name, folder, settings, has: golden.has, golden: golden.tensor };
}
