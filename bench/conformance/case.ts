import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { EpalmError } from "../../src/core/errors.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import type { Tensor } from "../../src/tensor/tensor.js";

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
  const golden = openSafetensors(join(folder, "golden.safetensors"));
  return {
    name,
    folder,
    settings,
    has: (key) => golden.tensors.has(key),
    golden(key) {
      const source = golden.tensors.get(key);
      if (!source) throw new EpalmError("not_found", `${folder}: golden.safetensors has no ${key}`);
      return { type: source.type, shape: source.shape, data: source.read() };
    },
  };
}
