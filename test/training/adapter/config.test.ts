import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { stringify } from "yaml";
import { z } from "zod";
import { EpalmError } from "../../../src/core/errors.js";
import { adapterSettingsOf, readTrainingConfig, trainingConfigSchema } from "../../../src/training/adapter/config.js";
import { temporaryFolder } from "../../support/temporary-folder.js";

const folder = temporaryFolder();
const inFolder = (name: string) => join(folder, name);

function write(content: string, name = "config.yaml"): string {
  writeFileSync(inFolder(name), content);
  return inFolder(name);
}

type Settings = Readonly<Record<string, unknown>>;

const smallest: Settings = {
  model: "model",
  output: "run",
  data: { train: { path: "train.jsonl" } },
  adapter: { injectedStates: 6, startLayer: 0, endLayer: 12 },
};

/** All keys, none with its default value. */
const full: Settings = {
  model: "model",
  output: "runs/full",
  data: {
    train: {
      ...{ path: "q.json", format: "vqa-v2", annotations: "a.json", media: "pictures", imagePattern: "{id}.png" },
      ...{ split: "train", list: "train.txt" },
    },
    validation: {
      ...{ path: "v.json", format: "vqa-v2", annotations: "b.json", media: "more", imagePattern: "{split}/{id}.png" },
      ...{ split: "validation", list: "validation.txt" },
    },
  },
  adapter: {
    name: "plants-2.b",
    tasks: ["vqa"],
    modality: "audio",
    connector: { kind: "cls-injection" },
    injectedStates: 3,
    startLayer: 1,
    endLayer: 5,
    sharedConnector: false,
    promptLength: 10,
    promptForm: "mlp",
    perceptionSees: "everything",
    initial: "before.safetensors",
  },
  loss: { scale: 1, on: "answer", labelSmoothing: 0.1 },
  optimizer: {
    learningRate: 1e-3,
    promptLearningRate: 1e-4,
    weightDecay: 0,
    beta1: 0,
    beta2: 0.95,
    epsilon: 1e-6,
    clipNorm: 0.5,
  },
  schedule: { warmupEpochs: 1.5, startShare: 0, endShare: 1 },
  epochs: 3,
  batchSize: 64,
  accumulation: 4,
  seed: 2 ** 32 - 1,
  augmentations: 100,
  mirror: true,
  augment: {
    randomResizedCrop: { scale: [0.5, 1] },
    flip: 0.5,
    randAugment: { operations: 2, magnitude: 7 },
    specAugment: { frequency: 24, time: 96 },
    noise: true,
    randomFrames: true,
  },
  device: "webgpu",
  cache: "states",
  skipBad: true,
  whiten: true,
  install: false,
  replace: true,
  keep: "best",
  score: "cider-d",
  patience: 2,
  baseline: true,
  calibrate: false,
  checkpointEvery: 7,
  validationExamples: 50,
  blind: true,
};

const PATHS = [
  "model",
  "output",
  "cache",
  "adapter.initial",
  ...["train", "validation"].flatMap((set) =>
    ["path", "annotations", "media", "list"].map((key) => `data.${set}.${key}`),
  ),
];

function isObject(value: unknown): value is Settings {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Keys with a value, such as `a.b`, and keys that contain others. */
function keysOf(settings: Settings, prefix = ""): { leaves: string[]; groups: string[] } {
  const found = { leaves: [] as string[], groups: [] as string[] };
  for (const [key, value] of Object.entries(settings)) {
    if (!isObject(value)) {
      found.leaves.push(`${prefix}${key}`);
      continue;
    }
    const inner = keysOf(value, `${prefix}${key}.`);
    found.groups.push(`${prefix}${key}`, ...inner.groups);
    found.leaves.push(...inner.leaves);
  }
  return found;
}

function at(settings: unknown, key: string): unknown {
  const inside = (inner: unknown, part: string) =>
    isObject(inner) ? inner[part] : Array.isArray(inner) ? inner[Number(part)] : undefined;
  return key.split(".").reduce<unknown>(inside, settings);
}

/** The config with another value for `a.b`; undefined removes the key. */
function changed(settings: Settings, key: string, value: unknown): Settings {
  const [first = "", ...rest] = key.split(".");
  const inner = settings[first];
  const next = rest.length === 0 ? value : changed(isObject(inner) ? inner : {}, rest.join("."), value);
  return Object.fromEntries(Object.entries({ ...settings, [first]: next }).filter(([, one]) => one !== undefined));
}

/** The keys of the schema, from its JSON schema. */
function schemaKeys(schema: unknown, prefix = ""): string[] {
  const properties = at(schema, "properties") ?? at(schema, "oneOf.0.properties");
  if (!isObject(properties)) return [prefix];
  return Object.entries(properties).flatMap(([key, inner]) =>
    schemaKeys(inner, prefix === "" ? key : `${prefix}.${key}`),
  );
}

/** Asserts a one-line EpalmError with the file, the key ("": the file as a whole) and the cause. */
function refusal(path: string, key: string, cause = /./) {
  const place = key === "" ? path : `${path}: '${key}'`;
  return (error: unknown) => {
    assert.ok(error instanceof EpalmError, String(error));
    assert.equal(error.code, "invalid_option");
    assert.ok(error.message.startsWith(`${place}: `), `${error.message}, expected '${key}'`);
    assert.match(error.message, cause);
    assert.doesNotMatch(error.message, /[\n\r]/);
    return true;
  };
}

function assertRefused(settings: Settings, key: string, cause?: RegExp): void {
  const path = write(stringify(settings));
  assert.throws(() => readTrainingConfig(path), refusal(path, key, cause));
}

const { leaves, groups } = keysOf(full);

describe("a training config", () => {
  it("accepts all keys, and resolves paths relative to its file", () => {
    assert.deepEqual(leaves.toSorted(), schemaKeys(z.toJSONSchema(trainingConfigSchema)).toSorted());
    const expected = PATHS.reduce((settings, key) => changed(settings, key, inFolder(String(at(full, key)))), full);
    assert.deepEqual(readTrainingConfig(write(stringify(full))), expected);
  });

  it("is the same in YAML and in JSON", () => {
    for (const settings of [smallest, full]) {
      const yaml = readTrainingConfig(write(stringify(settings), "a.yaml"));
      assert.deepEqual(readTrainingConfig(write(JSON.stringify(settings), "a.json")), yaml);
      assert.deepEqual(readTrainingConfig(write(JSON.stringify(settings, undefined, 2), "b.json")), yaml);
    }
  });

  it("keeps absolute paths", () => {
    const settings = PATHS.reduce((all, key) => changed(all, key, `/data/${key}`), full);
    const found = readTrainingConfig(write(stringify(settings)));
    for (const key of PATHS) assert.equal(at(found, key), `/data/${key}`);
  });

  for (const key of ["", ...groups]) {
    it(`rejects an unknown key in ${key || "the file"} by its name`, () => {
      for (const odd of ["learning_rate", "__proto__", "constructor"]) {
        const group = key === "" ? full : at(full, key);
        assert.ok(isObject(group));
        const odder = Object.fromEntries([...Object.entries(group), [odd, { a: 1 }]]);
        const place = key === "" ? odd : `${key}.${odd}`;
        assertRefused(key === "" ? odder : changed(full, key, odder), place, /is not a known key/);
      }
    });
  }

  for (const key of [...groups, ...leaves]) {
    it(`rejects an invalid value of '${key}'`, () => {
      for (const value of [null, [[]], [], isObject(at(full, key)) ? "x" : { a: 1 }]) {
        assertRefused(changed(full, key, value), key === "adapter.tasks" && isDeep(value) ? `${key}[0]` : key);
      }
      const value = at(full, key);
      const wrongType = typeof value === "string" ? 1 : typeof value === "object" ? undefined : String(value);
      if (wrongType !== undefined) assertRefused(changed(full, key, wrongType), key);
    });
  }

  for (const key of [
    "model",
    "output",
    "data",
    "data.train",
    "data.train.path",
    "adapter",
    "adapter.injectedStates",
    "adapter.startLayer",
    "adapter.endLayer",
  ]) {
    it(`is rejected without '${key}'`, () => assertRefused(changed(full, key, undefined), key));
  }

  const { POSITIVE_INFINITY: infinite, NaN: noNumber } = Number;
  const anyInteger = [0.5, infinite, noNumber, 2 ** 53];
  const count = [0, -1, ...anyInteger];
  const positive = [0, -1e-9, infinite, noNumber];
  const share = [-1e-9, 1 + 1e-9, infinite, noNumber];
  const belowOne = [-1e-9, 1, infinite, noNumber];
  const outOfRange: Readonly<Record<string, readonly unknown[]>> = {
    ...Object.fromEntries(PATHS.map((key) => [key, [""]])),
    "adapter.name": ["", ".", "..", "a/b", "-a", "_a", "a b", "ä", "a\n"],
    "adapter.injectedStates": count,
    "adapter.startLayer": [-1, ...anyInteger],
    "adapter.endLayer": count,
    "adapter.promptLength": count,
    "adapter.promptForm": ["", "MLP", "tables"],
    "adapter.perceptionSees": ["", "nothing"],
    "loss.scale": positive,
    "loss.on": ["", "question"],
    "loss.labelSmoothing": belowOne,
    "optimizer.learningRate": positive,
    "optimizer.promptLearningRate": positive,
    "optimizer.weightDecay": [-1e-9, infinite, noNumber],
    "optimizer.beta1": belowOne,
    "optimizer.beta2": belowOne,
    "optimizer.epsilon": positive,
    "optimizer.clipNorm": positive,
    "schedule.warmupEpochs": [-1, infinite, noNumber],
    "schedule.startShare": share,
    "schedule.endShare": share,
    epochs: count,
    batchSize: count,
    accumulation: count,
    seed: [-1, 2 ** 32, ...anyInteger],
    augmentations: [-1, 101, ...anyInteger],
    patience: count,
    checkpointEvery: count,
    validationExamples: count,
  };
  for (const [key, values] of Object.entries(outOfRange)) {
    it(`rejects a '${key}' out of range`, () => {
      for (const value of values) assertRefused(changed(full, key, value), key);
    });
  }

  it("rejects an unknown task by its index", () => {
    assertRefused(changed(full, "adapter.tasks", ["caption", "retrieval"]), "adapter.tasks[1]", /caption.*vqa/);
  });
});

describe("the defaults of a training config", () => {
  const documented = documentedDefaults();

  it("are documented for exactly the keys of the schema", () => {
    const paths = leaves.filter((key) => key === "model" || key === "output" || key.startsWith("data."));
    assert.deepEqual([...documented.keys(), ...paths].toSorted(), leaves.toSorted());
  });

  for (const [key, value] of documented) {
    it(`are as documented: '${key}' is ${value ?? "not set"}`, () => {
      const given = at(smallest, key);
      assert.deepEqual(at(readTrainingConfig(write(stringify(smallest))), key), given ?? value);
    });
  }

  it("are the same for a missing and an empty group", () => {
    const empty = { ...smallest, loss: {}, optimizer: {}, schedule: {} };
    assert.deepEqual(readTrainingConfig(write(stringify(empty))), readTrainingConfig(write(stringify(smallest))));
  });
});

describe("a config file", () => {
  it("that is missing, or a folder, is not found", () => {
    for (const path of [inFolder("none.yaml"), folder]) {
      assert.throws(() => readTrainingConfig(path), { name: "EpalmError", code: "not_found" });
    }
  });

  const unreadable: readonly (readonly [what: string, content: string])[] = [
    ["is empty", ""],
    ["is not a mapping", "- model\n- output\n"],
    ["is neither YAML nor JSON", '{"model": '],
    ["has a key twice", `${stringify(smallest)}model: other\n`],
    ["has several documents", `${stringify(smallest)}---\n${stringify(smallest)}`],
    ["has an alias without an anchor", "model: *other\n"],
    ["is nested without end", "[".repeat(20_000)],
    ["has aliases of aliases", aliases(30)],
    ["is too long", `${stringify(smallest)}# ${"x".repeat(1024 * 1024)}\n`],
  ];
  for (const [what, content] of unreadable) {
    it(`that ${what} is rejected by its name`, () => {
      const path = write(content);
      assert.throws(
        () => readTrainingConfig(path),
        (error: unknown) => {
          assert.ok(error instanceof EpalmError, String(error));
          assert.equal(error.code, "invalid_option");
          assert.ok(error.message.startsWith(`${path}: `), error.message);
          assert.doesNotMatch(error.message, /[\n\r]/);
          return true;
        },
      );
    });
  }

  it("with damage is read as a config or rejected", () => {
    const original = stringify(full);
    const place = fc.nat(original.length);
    const damage = fc.record({
      from: place,
      to: place,
      piece: fc.string({ unit: "grapheme", maxLength: 4 }),
    });
    fc.assert(
      fc.property(damage, ({ from, to, piece }) => {
        const path = write(original.slice(0, from) + piece + original.slice(Math.max(from, to)));
        try {
          trainingConfigSchema.parse(readTrainingConfig(path));
        } catch (error) {
          assert.ok(error instanceof EpalmError && error.code === "invalid_option", String(error));
          assert.ok(error.message.startsWith(path), error.message);
        }
      }),
      { numRuns: 300 },
    );
  });
});

function isDeep(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0;
}

/** YAML whose aliases expand to two to the power of `depth` items. */
function aliases(depth: number): string {
  const lines = Array.from({ length: depth }, (_, index) => `a${index + 1}: &a${index + 1} [*a${index}, *a${index}]`);
  return ["a0: &a0 x", ...lines, ""].join("\n");
}

/** Defaults in the table of keys in docs/training.md; undefined if the default is described in words. */
function documentedDefaults(): Map<string, unknown> {
  const words = [
    "",
    "see [Data](#data)",
    "see [above](#training-an-adapter)",
    "those of the data",
    "`learningRate`",
    "no clipping",
    "never",
    "off",
    "all",
    "`states` in the output",
  ];
  const [, section = ""] = readFileSync("docs/training.md", "utf8").split("## Keys");
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  return new Map(
    rows.flatMap((row) => {
      const [, names = "", defaults = ""] = row.split("|").map((cell) => cell.trim());
      const keys = Array.from(names.matchAll(/`([\w.]+)`/g), ([, name = ""]) => name);
      const group = /^\w+\./.exec(keys[0] ?? "")?.[0] ?? "";
      const values = defaults.split(", ");
      return keys.map((key, index): [string, unknown] => {
        const value = values.length === 1 ? defaults : (values[index] ?? "");
        return [key.includes(".") ? key : `${group}${key}`, words.includes(value) ? undefined : parsed(value)];
      });
    }),
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

describe("the connector of a training config", () => {
  const visual = (adapter: Settings): Settings => ({ ...smallest, adapter });
  const settingsOf = (adapter: Settings) =>
    adapterSettingsOf(readTrainingConfig(write(stringify(visual(adapter)))), 12);

  it("gets all layers and the documented defaults if it computes visual tokens", () => {
    assert.deepEqual(settingsOf({ connector: { kind: "prefix" } }), {
      connector: { kind: "prefix", states: "all", projection: "linear", norm: false },
      startLayer: 0,
      endLayer: 12,
      promptLength: 1,
      promptForm: "table",
    });
    assert.deepEqual(settingsOf({ connector: { kind: "queries" }, startLayer: 3, endLayer: 9, promptLength: 0 }), {
      connector: { kind: "queries", queries: 32, width: 256, layers: 4, heads: 8, depths: 1, norm: false },
      startLayer: 3,
      endLayer: 9,
      promptLength: 0,
      promptForm: "table",
    });
  });

  it("is eP-ALM's without one", () => {
    const expected = { injectedStates: 6, sharedConnector: true, promptLength: 1, promptForm: "table" };
    const layers = { startLayer: 0, endLayer: 12, perceptionSees: "itself" };
    assert.deepEqual(settingsOf({ injectedStates: 6, startLayer: 0, endLayer: 12 }), { ...expected, ...layers });
  });

  const refused: readonly (readonly [adapter: Settings, key: string, cause?: RegExp])[] = [
    [{ connector: { kind: "resampler" } }, "adapter.connector.kind"],
    [{ connector: { kind: "prefix", states: { pool: 0 } } }, "adapter.connector.states.pool"],
    [{ connector: { kind: "prefix", states: { pool: 2, pixelShuffle: 2 } } }, "adapter.connector.states"],
    [{ connector: { kind: "prefix", projection: "conv" } }, "adapter.connector.projection"],
    [{ connector: { kind: "prefix", queries: 4 } }, "adapter.connector.queries", /is not a known key/],
    [{ connector: { kind: "queries", width: 20, heads: 8 } }, "adapter.connector.width", /multiple of 'heads'/],
    [{ connector: { kind: "prefix" }, injectedStates: 3 }, "adapter.injectedStates", /no meaning/],
    [{ connector: { kind: "prefix" }, perceptionSees: "everything" }, "adapter.perceptionSees", /no meaning/],
    [{ connector: { kind: "prefix" }, sharedConnector: false }, "adapter.sharedConnector", /no meaning/],
  ];
  for (const [adapter, key, cause] of refused) {
    it(`rejects ${JSON.stringify(adapter)}`, () => assertRefused(visual(adapter), key, cause));
  }
});
