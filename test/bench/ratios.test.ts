import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { exponentOf } from "../../bench/exponent.js";
import { compareRatios, ratiosOf, runResults, storedRatios } from "../../bench/ratios.js";
import type { Table } from "../../bench/table.js";

/** A table of a run: speed over a peer (higher is better), and memory over it (lower is better). */
function tableOf(rows: Table["rows"]): Table {
  return {
    title: "decoding, 9 rounds",
    columns: [
      { key: "precision", title: "precision" },
      { key: "batch", title: "batch", isLabel: true },
      { key: "milliseconds", title: "ms" },
      { key: "speed", title: "x", better: "higher" },
      { key: "memory", title: "memory", better: "lower" },
    ],
    rows,
  };
}

const row = { precision: "int8", batch: 8, milliseconds: 20, speed: 1.5, memory: 1.2 };
const stored = {
  "decoding: int8, batch 8: speed": { value: 1.5, better: "higher" },
  "decoding: int8, batch 8: memory": { value: 1.2, better: "lower" },
} as const;
const run = (changes: Partial<typeof row>) => ({ decoding: [tableOf([{ ...row, ...changes }])] });
const verdicts = (results: Parameters<typeof compareRatios>[1]) =>
  compareRatios(stored, results).map(({ verdict }) => verdict);

test("ratios are named by their measurement, the labels of their row and their column", () => {
  assert.deepEqual(Object.fromEntries(ratiosOf(run({}))), stored);
});

test("two ratios with the same name are refused", () => {
  const both = { decoding: [tableOf([row]), tableOf([row])] };
  assert.throws(() => ratiosOf(both), { code: "internal", message: /'decoding: int8, batch 8: speed'/ });
});

test("a ratio fails below 0.9 of its stored value, in the direction that is worse", () => {
  assert.deepEqual(verdicts(run({ speed: 1.36, memory: 1.32 })), ["ok", "ok"]);
  assert.deepEqual(verdicts(run({ speed: 1.34 })), ["worse", "ok"]);
  assert.deepEqual(verdicts(run({ memory: 1.35 })), ["ok", "worse"]);
  assert.deepEqual(verdicts(run({ speed: 15, memory: 0.12 })), ["ok", "ok"]);
});

test("a stored ratio that a measurement no longer has is missing; one of another measurement was not measured", () => {
  assert.deepEqual(verdicts(run({ batch: 16 })), ["missing", "missing"]);
  assert.deepEqual(verdicts(run({ speed: Number.NaN })), ["missing", "ok"]);
  assert.deepEqual(verdicts({ training: [] }), ["not measured", "not measured"]);
});

test("a run that was written as JSON has the same ratios", () => {
  const machine = { cpu: "a processor", cores: 2, memoryBytes: 1, node: "v20", onnxruntime: "1", readBandwidth: 1 };
  const text = JSON.stringify({ machine, results: run({ milliseconds: Number.NaN }) });
  const { results } = runResults.parse(JSON.parse(text));
  assert.deepEqual(Object.fromEntries(ratiosOf(results)), stored);
});

test("the stored ratios of the repository have the stored form", () => {
  const { ratios } = storedRatios.parse(JSON.parse(readFileSync("bench/ratios.json", "utf8")));
  for (const name of Object.keys(ratios)) assert.match(name, /^[a-z-]+: .+: \w+$/);
});

test("the exponent of a power law is found, and is NaN for a single point", () => {
  const points = [1, 3, 10, 50].map((x) => [x, 7 * x ** 1.25] as const);
  assert.ok(Math.abs(exponentOf(points) - 1.25) < 1e-12);
  assert.ok(Number.isNaN(exponentOf([[2, 3]])));
});
