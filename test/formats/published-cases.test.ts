/**
 * Files as published code and public libraries write them, each of which was once rejected or misread. The command
 * `npm test -- published-cases` runs these and those of data sets.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Checkpoint } from "../../src/formats/checkpoint.js";
import { openCheckpoint } from "../../src/formats/open-checkpoint.js";
import { Weights } from "../../src/formats/weights.js";
import { readAdapter } from "../../src/index.js";
import { epalm } from "../support/cli-process.js";
import { refusal, values } from "../support/same-tensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const cases = "test/fixtures/cases";
const golden = "test/fixtures/goldens/opt-shared-1token";
const folder = temporaryFolder();

async function withCheckpoint<T>(path: string, use: (checkpoint: Checkpoint) => T): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return use(checkpoint);
  } finally {
    checkpoint.close();
  }
}

describe("adapters whose best score is a number of numpy", () => {
  it("contain the same tensors and settings as with a float", async () => {
    const expected = await readAdapter(join(cases, "adapter-score-float.pth"));
    assert.deepEqual(await readAdapter(join(cases, "adapter-score-numpy1.pth")), expected);
  });

  it("can be built", async () => {
    const built = await epalm([
      "build",
      ...["--encoder", join(golden, "encoder"), "--decoder", join(golden, "decoder")],
      ...["--adapter", `main=${join(cases, "adapter-score-numpy1.pth")}`, "-o", join(folder, "numpy-score")],
    ]);
    assert.equal(built.code, 0, built.stderr);
  });

  it("are shown with the score", async () => {
    const { stdout } = await epalm(["inspect", join(cases, "adapter-score-numpy1.pth"), "--json"]);
    const { contents } = JSON.parse(stdout);
    assert.deepEqual([contents.best_valid, contents.epoch], [0.97, 6]);
  });
});

describe("objects beside tensors", () => {
  const files: [string, string][] = [
    ["torch-beside-counter.pth", "lr_scheduler"],
    ["torch-beside-dtype.pth", "extra"],
  ];
  for (const [name, skipped] of files) {
    it(`are skipped and listed: ${name}`, async () => {
      const { stdout } = await epalm(["inspect", join(cases, name), "--json"]);
      const description = JSON.parse(stdout);
      assert.deepEqual(description.tensors, [{ name: "w", type: "float32", shape: [2, 2] }]);
      assert.deepEqual(
        description.skipped.map((object: { name: string }) => object.name),
        [skipped],
      );
    });
  }

  it("do not hide a parameter with attributes", async () => {
    await withCheckpoint(join(cases, "torch-parameter-with-state.pth"), ({ tensors }) => {
      assert.deepEqual(tensors.get("w")?.shape, [2, 2]);
      assert.equal(tensors.get("w")?.read().length, 4);
    });
  });

  for (const protocol of [2, 4, 5]) {
    it(`of 30 classes are skipped in protocol ${protocol}, and simple values are shown`, async () => {
      const { stdout } = await epalm(["inspect", join(cases, `beside-protocol${protocol}.pth`), "--json"]);
      const { tensors, contents, skipped } = JSON.parse(stdout);
      assert.deepEqual(tensors, [{ name: "w", type: "float32", shape: [2, 2] }]);
      const { float64, float32, int64, uint8, bool, set, counter, large_integer } = contents;
      assert.deepEqual([float64, float32, int64, uint8, bool, set], [0.25, 0.5, -7, 200, true, [1, 2]]);
      assert.equal(counter.a, 2);
      assert.equal(large_integer, (2n ** 2000n).toString());
      assert.deepEqual(contents.path, { class: "pathlib.PurePosixPath", args: ["/", "data", "run"] });
      const names = new Map(skipped.map((object: { name: string; class: string }) => [object.name, object.class]));
      assert.equal(names.get("namespace"), "argparse.Namespace");
      assert.equal(names.get("omegaconf"), "omegaconf.dictconfig.DictConfig");
      assert.equal(names.get("model._extra_state"), "collections.Counter");
      for (const name of ["datetime", "defaultdict", "array", "enum", "complex", "dtype", "deque", "dataclass"]) {
        assert.ok(names.has(name), name);
      }
    });
  }
});

describe("kinds of tensors", () => {
  const path = join(cases, "tensor-kinds.pth");
  const expected = { type: "float32", shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) };
  it("are read if they are dense, with attributes or without", async () => {
    await withCheckpoint(path, ({ tensors }) => {
      assert.deepEqual([...tensors.keys()], ["w", "typed", "attributes", "parameter", "xla"]);
      for (const source of tensors.values()) assert.deepEqual(values(source), expected);
    });
  });

  const kinds: [string, RegExp][] = [
    ["float8", /tensor float8 is of torch\.float8_e4m3fn, which is not supported/],
    ["complex", /tensor complex is in a torch\.ComplexFloatStorage/],
    ["quantized", /tensor quantized is a quantized tensor/],
    ["sparse", /tensor sparse is a sparse tensor/],
    ["meta", /tensor meta is a meta tensor/],
    ["subclass", /tensor subclass is a tensor subclass/],
    ["conjugated", /tensor conjugated is lazily negated or conjugated/],
  ];
  for (const [name, cause] of kinds) {
    it(`are rejected by name when they are used: ${name}`, async () => {
      await withCheckpoint(path, (checkpoint) => {
        const weights = new Weights(checkpoint);
        assert.ok(weights.take("w", [2, 2]));
        assert.throws(() => weights.take(name, [2, 2]), refusal(path, cause));
      });
    });
  }

  it("are rejected by name if the file contains no others", async () => {
    const only = join(cases, "only-sparse.pth");
    await assert.rejects(openCheckpoint(only), refusal(only, /tensor w is a sparse tensor/));
  });
});
