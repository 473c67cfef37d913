import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { trainSlots } from "../../../models/recipe/adapters/slot-training.js";
import { randomStreams } from "../../../src/core/random.js";
import { normal } from "../../../src/training/distributions.js";

const sizes = ["small", "middle", "large"] as const;
const [random = Math.random] = randomStreams(3, 1);
const [WIDTH, COUNT] = [6, 300];
const own = new Map(sizes.map((size) => [size as string, normal(random, [WIDTH], 0.3)]));
const tables = { width: WIDTH, slotOf: ({ size = "" }) => own.get(size) ?? new Float32Array(WIDTH) };

/** The label of which a slot contains most. */
function told(slot: readonly number[]): string {
  const shares = sizes.map((size) => {
    const label = tables.slotOf({ size });
    const square = label.reduce((sum, value) => sum + value * value, 0);
    return label.reduce((sum, value, i) => sum + value * (slot[i] as number), 0) / square;
  });
  return sizes[shares.indexOf(Math.max(...shares))] ?? "";
}

describe("trainSlots", () => {
  it("recognises a label between two others, which the nearest map hardly does", async () => {
    const examples = Array.from({ length: COUNT }, (_, i) => ({ labels: { size: sizes[i % 3] as string } }));
    const states = examples.map((_, i) => Float32Array.of((i % 3) - 1 + 0.3 * (random() - 0.5), 1));
    // For states on one line, the nearest map is flat for the middle label: every slot contains a third of it.
    const mean = (row: number) => sizes.reduce((sum, size) => sum + (own.get(size)?.[row] ?? 0), 0) / 3;
    const slope = (row: number) => ((own.get("large")?.[row] ?? 0) - (own.get("small")?.[row] ?? 0)) / 2;
    const nearest = {
      weight: {
        ...{ type: "float32" as const, shape: [WIDTH, 2] },
        data: Float32Array.from({ length: WIDTH * 2 }, (_, i) => (i % 2 === 0 ? slope(i / 2) : 0)),
      },
      bias: {
        ...{ type: "float32" as const, shape: [WIDTH] },
        data: Float32Array.from({ length: WIDTH }, (_, row) => mean(row)),
      },
    };
    const { weight, bias } = await trainSlots({ states, examples }, tables, nearest);
    const right = states.filter((state, i) => {
      const slot = Array.from(bias.data as Float32Array, (value, row) =>
        state.reduce((sum, x, column) => sum + x * Number(weight.data[row * 2 + column]), value),
      );
      return told(slot) === examples[i]?.labels.size;
    });
    assert.equal(right.length, COUNT);
  });
});
