/** Checkpoints are read after crashes and full disks: damaged files must not be accepted as weights. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { openSafetensors, writeSafetensors } from "../../src/formats/safetensors.js";
import { bytesOf, type Tensor, type TensorSource } from "../../src/tensor/tensor.js";
import type { Moments } from "../../src/training/adamw.js";
import { type Fingerprint, type RunState, readRunState, writeRunState } from "../../src/training/run-state.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const FINGERPRINT: Fingerprint = {
  config: { epochs: 8, optimizer: { learningRate: 0.1 } },
  model: "3f7a",
  data: "90c1",
};

function tensor(shape: readonly number[], values: readonly number[]): Tensor {
  return { type: "float32", shape, data: Float32Array.from(values) };
}

const state: RunState = {
  step: 120,
  fingerprint: FINGERPRINT,
  weights: new Map([
    ["connector.weight", tensor([2, 2], [0.1, -0, 1e-42, -3.4e38])],
    ["prompt", tensor([1, 3], [1 / 3, 2, -7])],
  ]),
  moments: new Map([
    ["connector.weight", { mean: Float32Array.of(1, 2, 3, 4), square: Float32Array.of(5, 6, 7, 8) }],
    ["prompt", { mean: Float32Array.of(-1, 0, 1e-9), square: Float32Array.of(1e-20, 0, 9) }],
  ]),
};

/** Compares bits: -0 differs from 0, and NaNs with different bits differ. */
function bits({ step, fingerprint, weights, moments }: RunState) {
  const hex = (data: Tensor["data"]) => Buffer.from(bytesOf(data)).toString("hex");
  return {
    step,
    fingerprint,
    weights: Array.from(weights, ([name, { type, shape, data }]) => [name, type, shape, hex(data)]),
    moments: Array.from(moments, ([name, { mean, square }]) => [name, hex(mean), hex(square)]),
  };
}

/** The state in a file, or undefined if it was rejected with the correct error. */
function contents(bytes: Uint8Array): ReturnType<typeof bits> | undefined {
  const path = join(folder, "damaged.safetensors");
  writeFileSync(path, bytes);
  try {
    const found = readRunState(path, FINGERPRINT);
    assert.ok(found, "an existing file was read as missing");
    return bits(found);
  } catch (error) {
    assert.ok(error instanceof EpalmError && error.code === "invalid_checkpoint", String(error));
    assert.ok(error.message.startsWith(path), error.message);
    return undefined;
  }
}

function written(given: RunState): Buffer {
  const path = join(folder, "whole.safetensors");
  writeRunState(path, given);
  return readFileSync(path);
}

describe("the run state", () => {
  it("is read back bit for bit", () => {
    const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    const floats = (length: number) =>
      fc
        .array(word, { minLength: length, maxLength: length })
        .map((words) => new Float32Array(Uint32Array.from(words).buffer));
    const trained = fc.nat(5).chain((length) =>
      fc.record({
        weight: floats(length).map((data): Tensor => ({ type: "float32", shape: [length, 1], data })),
        moments: fc.option(fc.record<Moments>({ mean: floats(length), square: floats(length) })),
      }),
    );
    const states = fc.record({
      step: fc.nat(),
      fingerprint: fc.record({
        config: fc.dictionary(fc.string(), fc.jsonValue()),
        model: fc.string(),
        data: fc.string(),
      }),
      trained: fc.dictionary(fc.string({ minLength: 1 }), trained, { maxKeys: 4 }),
    });
    const path = join(folder, "any.safetensors");
    fc.assert(
      fc.property(states, ({ step, fingerprint, trained: named }) => {
        const given: RunState = {
          step,
          fingerprint,
          weights: new Map(Object.entries(named).map(([name, { weight }]) => [name, weight])),
          moments: new Map(Object.entries(named).flatMap(([name, { moments }]) => (moments ? [[name, moments]] : []))),
        };
        writeRunState(path, given);
        const found = readRunState(path, fingerprint);
        assert.ok(found);
        assert.deepEqual(bits(found), bits(given));
      }),
    );
  });

  it("is undefined if there is no file", () => {
    assert.equal(readRunState(join(folder, "none.safetensors"), FINGERPRINT), undefined);
  });

  it("is rejected with the name of its file and what differs if it belongs to another run", () => {
    const path = join(folder, "other.safetensors");
    writeRunState(path, state);
    const expected: [Partial<Fingerprint>, string][] = [
      [
        { config: { epochs: 9, optimizer: { learningRate: 0.1 }, keep: "best" } },
        `another config ('epochs' was 8 and is now 9, 'keep' was absent and is now "best")`,
      ],
      [
        { config: { epochs: 8, optimizer: { learningRate: 0.2 } } },
        "another config ('optimizer.learningRate' was 0.1 and is now 0.2)",
      ],
      [{ model: "3f7b" }, "another model"],
      [{ data: "90c2" }, "other data"],
      [{ model: "3f7b", data: "90c2" }, "another model and other data"],
    ];
    for (const [changes, difference] of expected) {
      assert.throws(() => readRunState(path, { ...FINGERPRINT, ...changes }), {
        name: "EpalmError",
        code: "invalid_option",
        message: `${path}: belongs to a run with ${difference}; choose another output folder or remove this file`,
      });
    }
  });

  it("is found again if the same settings are listed in another order", () => {
    const path = join(folder, "order.safetensors");
    writeRunState(path, state);
    const config = { optimizer: { learningRate: 0.1 }, skipped: undefined, epochs: 8 };
    assert.equal(readRunState(path, { ...FINGERPRINT, config })?.step, 120);
  });

  it("is rejected with the reason if an earlier version wrote it", () => {
    const path = join(folder, "earlier.safetensors");
    const [step, fingerprint] = [3, "0c1f"];
    const sha256 = createHash("sha256")
      .update(JSON.stringify([step, fingerprint]))
      .digest("hex");
    writeSafetensors(path, [], { "epalm.run": JSON.stringify({ step, fingerprint, sha256 }) });
    assert.throws(() => readRunState(path, FINGERPRINT), {
      code: "invalid_option",
      message: /earlier\.safetensors: was written by an earlier version of epalm.*remove this file/,
    });
  });

  it("is rejected if the safetensors file is not a checkpoint", () => {
    const bytes = readFileSync("test/fixtures/checkpoints/training.safetensors");
    assert.equal(contents(bytes), undefined);
  });
});

describe("a damaged checkpoint", () => {
  const original = written(state);
  const whole = bits(state);
  const headerEnd = 8 + Number(original.readBigUInt64LE());
  /** The padding of the header, where other white space would not change the JSON. */
  const padding = original.subarray(0, headerEnd).toString("latin1").trimEnd().length;

  it("has the layout that these tests assume", () => {
    assert.deepEqual(contents(original), whole);
  });

  it("is rejected at any length when truncated", () => {
    for (let length = 0; length < original.length; length++) {
      assert.equal(contents(original.subarray(0, length)), undefined, `cut to ${length} bytes`);
    }
  });

  it("is rejected with extra bytes at the end", () => {
    assert.equal(contents(Buffer.concat([original, Buffer.alloc(1)])), undefined);
    assert.equal(contents(Buffer.concat([original, original])), undefined);
  });

  it("is rejected with a flipped bit in any byte", () => {
    for (let place = 0; place < original.length; place++) {
      const copy = Buffer.from(original);
      copy.writeUInt8(copy.readUInt8(place) ^ (1 << (place % 8)), place);
      const found = contents(copy);
      if (found && place >= padding && place < headerEnd) assert.deepEqual(found, whole);
      else assert.equal(found, undefined, `byte ${place}`);
    }
  });

  it("is never read as another state, however many bytes change", () => {
    const place = fc.nat(original.length - 1);
    const changes = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(changes, (bytes) => {
        const copy = Buffer.from(original);
        for (const [at, value] of bytes) copy.writeUInt8(value, at);
        const found = contents(copy);
        if (found) assert.deepEqual(found, whole);
      }),
      { numRuns: 300 },
    );
  });

  it("is rejected if only the step or the order of the tensors was changed in a valid file", () => {
    const path = join(folder, "whole.safetensors");
    writeRunState(path, state);
    const { tensors, metadata, close } = openSafetensors(path);
    try {
      const run = metadata["epalm.run"] ?? "";
      const changed = join(folder, "changed.safetensors");
      const copied = (header: string, order: readonly (readonly [string, TensorSource])[]) => {
        writeSafetensors(changed, order, { "epalm.run": header });
        return contents(readFileSync(changed));
      };
      assert.deepEqual(copied(run, [...tensors]), whole);
      assert.equal(copied(run.replace("120", "121"), [...tensors]), undefined);
      assert.equal(copied(run, [...tensors].reverse()), undefined);
      for (const header of ["", "null", "[]", "{", '{"step":120,"fingerprint":"3f7a"}']) {
        assert.equal(copied(header, [...tensors]), undefined, header);
      }
    } finally {
      close();
    }
  });
});

describe("writing a checkpoint", () => {
  it("replaces the old one", () => {
    const own = temporaryFolder();
    const path = join(own, "checkpoint.safetensors");
    writeRunState(path, state);
    writeRunState(path, { ...state, step: 121 });
    assert.equal(readRunState(path, FINGERPRINT)?.step, 121);
    assert.deepEqual(readdirSync(own), ["checkpoint.safetensors"]);
  });

  it("leaves only the old one if it fails half-way", () => {
    const own = temporaryFolder();
    const path = join(own, "checkpoint.safetensors");
    writeRunState(path, state);
    const before = readFileSync(path);
    // The last tensor to be written has fewer numbers than its shape requires.
    const short = new Map(state.weights).set("late", tensor([4], [1, 2, 3]));
    assert.throws(() => writeRunState(path, { ...state, step: 121, weights: short }), EpalmError);
    assert.deepEqual(readdirSync(own), ["checkpoint.safetensors"]);
    assert.deepEqual(readFileSync(path), before);
  });

  it("copies the values, although training continues in the same arrays", () => {
    const path = join(folder, "moment.safetensors");
    const data = Float32Array.of(1, 2);
    const weights = new Map<string, Tensor>([["w", { type: "float32", shape: [2], data }]]);
    writeRunState(path, { step: 1, fingerprint: FINGERPRINT, weights, moments: new Map() });
    data.fill(0);
    const found = readRunState(path, FINGERPRINT);
    assert.deepEqual(found?.weights.get("w")?.data, Float32Array.of(1, 2));
  });
});
