import type { Tensor } from "../../tensor/tensor.js";
import type { LabelledImage, Region } from "../data/labelled-images.js";

/** Name of the attribute of patches; no attribute of images may have this name. */
export const REGIONS = "regions";

/** Label of patches outside all regions. */
const NOTHING = "";

/** Total weight of the patches outside all regions, relative to the weight 1 of an attribute. */
const OUTSIDE_SHARE = 0.1;

/** The labels of patches: first that of patches outside all regions, then the others, sorted. Empty without regions. */
export function regionLabels(images: readonly LabelledImage[]): string[] {
  const found = new Set(images.flatMap(({ regions = [] }) => regions.map(({ label }) => label)));
  return found.size === 0 ? [] : [NOTHING, ...Array.from(found).sort()];
}

/** Labels of the patches of a batch. */
export interface PatchTargets {
  /** int64 [B * N]: indices into the list of labels. */
  readonly labels: Tensor;
  /** [B * N]: weights of the patches in the loss; 0 if the label is unknown. */
  readonly weights: Tensor;
}

/**
 * The label of a patch is that of the last region that contains its centre. The weights inside regions sum to the
 * number of regions per image, so that each region weighs as much as an attribute; the weights outside sum to {@link
 * OUTSIDE_SHARE}.
 */
export function regionTargets(images: readonly LabelledImage[], labels: readonly string[], side: number): PatchTargets {
  const places = new Map(labels.map((label, place) => [label, place]));
  const shown = images.flatMap(({ regions }) =>
    Array.from({ length: side * side }, (_, patch) => {
      if (!regions) return undefined;
      const [x, y] = [((patch % side) + 0.5) / side, (Math.floor(patch / side) + 0.5) / side];
      const region = regions.findLast(({ box }) => isInside(box, x, y));
      return places.get(region?.label ?? NOTHING);
    }),
  );
  const outside = shown.filter((place) => place === 0).length;
  const inside = shown.filter((place) => place !== undefined && place > 0).length;
  const regions = images.reduce((sum, image) => sum + (image.regions?.length ?? 0), 0);
  const weightOf = (place: number | undefined) => {
    if (place === undefined) return 0;
    return place === 0 ? OUTSIDE_SHARE / outside : regions / images.length / inside;
  };
  const shape = [shown.length];
  return {
    labels: { type: "int64", shape, data: BigInt64Array.from(shown, (place) => BigInt(place ?? 0)) },
    weights: { type: "float32", shape, data: Float32Array.from(shown, weightOf) },
  };
}

function isInside([left, top, right, bottom]: Region["box"], x: number, y: number): boolean {
  return left <= x && x < right && top <= y && y < bottom;
}

/**
 * Counts the patches inside regions, and those of them whose label has the largest logit.
 *
 * @param logits [P, labels]
 */
export function countRightPatches(
  logits: Float32Array,
  { labels, weights }: PatchTargets,
  names: readonly string[],
): { readonly right: number; readonly all: number } {
  let [right, all] = [0, 0];
  for (let patch = 0; patch < labels.data.length; patch++) {
    const place = Number(labels.data[patch]);
    if (weights.data[patch] === 0 || names[place] === NOTHING) continue;
    all++;
    const scores = logits.subarray(patch * names.length, (patch + 1) * names.length);
    if (scores.indexOf(Math.max(...scores)) === place) right++;
  }
  return { right, all };
}
