import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import sharp from "sharp";
import { writeFirstAdapter } from "../../../../models/recipe/adapters/first-adapter.js";
import { attributes } from "../../../../models/recipe/data/text/corpus.js";
import { ConditioningTables } from "../../../../models/recipe/language-model/conditioning-tables.js";
import { ATTRIBUTES } from "../../../../models/recipe/language-model/language-model-graph.js";
import { randomStreams } from "../../../../src/core/random.js";
import { buildModel, load, openModelFolder, readAdapter } from "../../../../src/index.js";
import type { Tensor } from "../../../../src/tensor/tensor.js";
import { loadTokenizer } from "../../../../src/tokenizer/tokenizer.js";
import { normal } from "../../../../src/training/distributions.js";
import { writeRunState } from "../../../../src/training/run-state.js";

const golden = "test/fixtures/goldens/opt-shared-1token";
const temporary = mkdtempSync(join(tmpdir(), "epalm-first-adapter-"));
after(() => rmSync(temporary, { recursive: true, force: true }));

const colors = { red: "#d01010", blue: "#1010d0", green: "#10d010" } as const;
type Color = keyof typeof colors;

const settings = {
  injectedStates: 1,
  startLayer: 3,
  endLayer: 6,
  perceptionSees: "itself",
  sharedConnector: true,
  promptLength: 1,
  promptForm: "table",
} as const;

/** Writes images of one colour each, with labels that name the colour. */
async function writePictures(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const lines: string[] = [];
  for (const [index, [name, background]] of Object.entries(colors).entries()) {
    for (let side = 24; side < 28; side++) {
      const image = `${index}-${side}.png`;
      await sharp({ create: { width: side, height: side, channels: 3, background } }).toFile(join(folder, image));
      lines.push(JSON.stringify({ image, labels: { background: name } }));
    }
  }
  writeFileSync(join(folder, "labels.jsonl"), lines.join("\n"));
}

describe("the initial adapter", async () => {
  const [model, languageModel, set] = ["model", "lm", "set"].map((name) => join(temporary, name)) as [
    string,
    string,
    string,
  ];
  const source = (part: string) => ({
    path: join(golden, part),
    given: part,
    precision: "fp32" as const,
  });
  await buildModel({
    name: "tiny",
    encoder: { ...source("encoder"), preprocessing: "source" },
    decoder: source("decoder"),
    output: model,
    adapters: [],
  });
  const { manifest } = await openModelFolder(model);
  const { width, vocabulary } = manifest.decoder.shape;
  const [random = Math.random] = randomStreams(5, 1);
  const table = (rows: number, columns: number): Tensor => {
    const shape = [rows, columns];
    return { type: "float32", shape, data: normal(random, shape, 1) };
  };
  mkdirSync(languageModel);
  writeRunState(join(languageModel, "checkpoint.safetensors"), {
    step: 1,
    fingerprint: { config: {} },
    weights: new Map([
      ["embed_tokens.weight", table(vocabulary, width)],
      [ATTRIBUTES, table(attributes.length, width)],
    ]),
    moments: new Map(),
  });
  const tokenizer = loadTokenizer(join(model, manifest.decoder.tokenizer));
  const tables = ConditioningTables.read(languageModel, tokenizer);

  it("represents several labels as the sum of their slots", () => {
    const [one, other] = [{ background: "red" }, { count: "2" }];
    const [first, second] = [tables.slotOf(one), tables.slotOf(other)];
    const both = tables.slotOf({ ...one, ...other });
    both.forEach((value, i) => {
      assert.ok(Math.abs(value - (first[i] as number) - (second[i] as number)) < 1e-5);
    });
    assert.notDeepEqual(tables.slotOf({ background: "blue" }), first);
  });

  it("maps each image to a slot that is nearest to the slot of its label", async () => {
    await writePictures(set);
    const output = join(temporary, "adapters", "first.safetensors");
    const cache = join(temporary, "states");
    await writeFirstAdapter({ model, languageModel, set, modality: "image", settings, cache, output });
    const { tensors } = await readAdapter(output, settings);
    const weight = tensors.get("connector.0.weight")?.data as Float32Array;
    const bias = tensors.get("connector.0.bias")?.data as Float32Array;
    const opened = await load(model, { threads: 1 });
    try {
      for (const [index, color] of (Object.keys(colors) as Color[]).entries()) {
        const { data, shape } = (await opened.encode(join(set, `${index}-26.png`))).states;
        const [depth = 0, columns = 0] = shape;
        const state = (data as Float32Array).subarray((depth - 1) * columns);
        const slot = Array.from(bias, (value, row) =>
          state.reduce((sum, x, i) => sum + x * (weight[row * columns + i] as number), value),
        );
        const distances = (Object.keys(colors) as Color[]).map((background) => {
          const target = tables.slotOf({ background });
          return [background, Math.hypot(...slot.map((x, i) => x - (target[i] as number)))] as const;
        });
        const [nearest] = distances.reduce((a, b) => (a[1] < b[1] ? a : b));
        assert.equal(nearest, color);
      }
    } finally {
      await opened.close();
    }
  });
});
