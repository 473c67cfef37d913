import type { Tensor } from "../../tensor/tensor.js";
import type { LabelledImage, Region } from "../data/labelled-images.js";

/** What a patch outside of all regions is. */
const NOTHING = "";

/** What patches outside of all regions weigh together, where an attribute weighs 1. */
const OUTSIDE_SHARE = 0.1;

/** Sorted; the first is that of patches outside of all regions. Empty where no picture has regions. */
export function regionLabels(pictures: readonly LabelledImage[]): string[] {
  const found = new Set(pictures.flatMap(({ regions = [] }) => regions.map(({ label }) => label)));
  return found.size === 0 ? [] : [NOTHING, ...Array.from(found).sort()];
}

/** What each patch of pictures shows. */
export interface RegionTargets {
  /** int64 [B * side * side], places in the list of labels */
  readonly labels: Tensor;
  /**
   * [B * side * side]: inside of regions they sum to the regions per picture, so that each weighs as an attribute does;
   * outside to {@link OUTSIDE_SHARE}; 0 where nothing is known
   */
  readonly weights: Tensor;
}

/** A patch shows the last region that its middle is in. */
export function regionTargets(
  pictures: readonly LabelledImage[],
  labels: readonly string[],
  side: number,
): RegionTargets {
  const places = new Map(labels.map((label, place) => [label, place]));
  const shown = pictures.flatMap(({ regions }) =>
    Array.from({ length: side * side }, (_, patch) => {
      if (!regions) return undefined;
      const [x, y] = [((patch % side) + 0.5) / side, (Math.floor(patch / side) + 0.5) / side];
      const region = regions.findLast(({ box }) => isInside(box, x, y));
      return places.get(region?.label ?? NOTHING);
    }),
  );
  const outside = shown.filter((place) => place === 0).length;
  const inside = shown.filter((place) => place !== undefined && place > 0).length;
  const regions = pictures.reduce((sum, picture) => sum + (picture.regions?.length ?? 0), 0);
  const weightOf = (place: number | undefined) => {
    if (place === undefined) return 0;
    return place === 0 ? OUTSIDE_SHARE / outside : regions / pictures.length / inside;
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

/** Of patches in regions, how many have their own label as the one of the largest logit: logits [P, labels]. */
export function countRightPatches(
  logits: Float32Array,
  { labels }: RegionTargets,
  count: number,
): { readonly right: number; readonly all: number } {
  let [right, all] = [0, 0];
  (labels.data as BigInt64Array).forEach((place, patch) => {
    if (place === 0n) return;
    all++;
    const scores = logits.subarray(patch * count, (patch + 1) * count);
    if (scores.indexOf(Math.max(...scores)) === Number(place)) right++;
  });
  return { right, all };
}
