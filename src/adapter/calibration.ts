import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import { parseJson } from "../core/json.js";
import { parse } from "../core/schema.js";
import { floats, formatShape, sameShape, type Tensor } from "../tensor/tensor.js";
import type { ConfidenceMaps } from "./confidence.js";
import { confidenceKinds } from "./confidence.js";
import { type FamiliaritySummary, familiarityShapes } from "./familiarity.js";

/** What was measured of an adapter after its training. It changes no answer. */
export interface Calibration {
  readonly familiarity?: FamiliaritySummary | undefined;
  readonly confidence?: ConfidenceMaps | undefined;
}

/** Key of the calibration in the header of an adapter file, and beginning of the names of its tensors. */
export const CALIBRATION_KEY = "epalm.calibration";
export const CALIBRATION_PREFIX = "familiarity.";

/** A distribution of scores with more examples would hardly be more exact. */
export const MAX_SCORES = 4096;
/** Steps of an isotonic map, which has at most as many as examples. */
const MAX_STEPS = 4096;
/** The deepest public encoders have fewer than 100 blocks. */
const MAX_BLOCK = 1024;

const block = z.int().min(0).max(MAX_BLOCK);
const scale = z.strictObject({ mean: z.number(), std: z.number().positive() });
const share = z.number().min(0).max(1);
const confidence = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("temperature"), temperature: z.number().positive() }),
  z
    .strictObject({
      kind: z.literal("isotonic"),
      bounds: z.array(share).min(1).max(MAX_STEPS),
      shares: z.array(share).min(1).max(MAX_STEPS),
    })
    .refine(({ bounds, shares }) => bounds.length === shares.length, "expected as many bounds as shares"),
]);
const schema = z.strictObject({
  familiarity: z
    .strictObject({
      block,
      blocks: z.array(block).min(1).max(MAX_BLOCK),
      residual: z.number().positive(),
      distance: scale,
      contrast: scale,
    })
    .optional(),
  confidence: z.partialRecord(z.enum(confidenceKinds), confidence).optional(),
});

/** A calibration as the tensors and the header of an adapter file. */
export function calibrationParts({ familiarity, confidence }: Calibration): {
  readonly header: string;
  readonly tensors: ReadonlyMap<string, Tensor>;
} {
  const tensors = new Map<string, Tensor>();
  const { mean, components, direction, scores, ...numbers } = familiarity ?? {};
  if (familiarity) {
    const data = { mean, components, direction, scores };
    for (const [name, shape] of Object.entries(shapesOf(familiarity))) {
      tensors.set(CALIBRATION_PREFIX + name, {
        type: "float32",
        shape,
        data: data[name as keyof typeof data] ?? new Float32Array(),
      });
    }
  }
  const header = JSON.stringify({
    ...(familiarity ? { familiarity: numbers } : {}),
    ...(confidence ? { confidence } : {}),
  });
  return { header, tensors };
}

function shapesOf({ blocks, mean, components, scores }: FamiliaritySummary) {
  const width = mean.length;
  return familiarityShapes({ blocks: blocks.length, rank: components.length / width, examples: scores.length }, width);
}

/**
 * The calibration in the header and the tensors of an adapter file.
 *
 * @throws invalid_adapter
 */
export function readCalibration(header: string, tensors: ReadonlyMap<string, Tensor>, path: string): Calibration {
  const where = `${path}: the header's '${CALIBRATION_KEY}'`;
  const { familiarity, confidence } = parse(
    schema,
    parseJson(header, where, "invalid_adapter"),
    where,
    "invalid_adapter",
  );
  const data = (name: string): Float32Array => {
    const tensor = tensors.get(CALIBRATION_PREFIX + name);
    if (tensor) return floats(tensor);
    throw new EpalmError("invalid_adapter", `${path}: tensor ${CALIBRATION_PREFIX}${name} is missing`);
  };
  if (!familiarity) return { confidence };
  const summary = {
    ...familiarity,
    mean: data("mean"),
    components: data("components"),
    direction: data("direction"),
    scores: data("scores"),
  };
  for (const [name, shape] of Object.entries(shapesOf(summary))) {
    const got = tensors.get(CALIBRATION_PREFIX + name)?.shape ?? [];
    if (sameShape(got, shape)) continue;
    const expected = `expected ${formatShape(shape)}, got ${formatShape(got)}`;
    throw new EpalmError("invalid_adapter", `${path}: tensor ${CALIBRATION_PREFIX}${name}: ${expected}`);
  }
  return { familiarity: summary, confidence };
}

/** @throws invalid_adapter if a summary is one of the states of another encoder */
export function checkCalibration(
  { familiarity }: Calibration,
  { depth, width }: { readonly depth: number; readonly width: number },
  where: string,
): void {
  if (!familiarity) return;
  const { block, blocks, mean } = familiarity;
  if (mean.length === width && Math.max(block, ...blocks) < depth) return;
  const got = `of width ${mean.length} and block ${Math.max(block, ...blocks)}`;
  throw new EpalmError(
    "invalid_adapter",
    `${where}: familiarity: expected states of ${depth} blocks of width ${width}, got ${got}`,
  );
}
