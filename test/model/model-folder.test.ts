import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { multipliesIntegers, precisions } from "../../src/core/precision.js";
import {
  type BuildOptions,
  buildModel,
  load,
  loadAdapter,
  type Manifest,
  manifestJsonSchema,
  openModelFolder,
  readAdapter,
  writeAdapter,
} from "../../src/index.js";

const golden = "test/fixtures/goldens/opt-shared-1token";

function options(output: string, change: Partial<BuildOptions> = {}): BuildOptions {
  const source = (name: string) => ({
    path: join(golden, name),
    given: join(golden, name),
    precision: "int8" as const,
  });
  return {
    output,
    encoder: { ...source("encoder"), preprocessing: "source" },
    decoder: source("decoder"),
    adapters: [{ name: "main", path: join(golden, "adapter.pth"), tasks: ["caption", "vqa"] }],
    ...change,
  };
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

describe("a model folder", () => {
  let temporary: string;
  let folder: string;
  let manifest: Manifest;
  let picture: Buffer;
  before(async () => {
    temporary = mkdtempSync(join(tmpdir(), "epalm-model-"));
    folder = join(temporary, "model");
    manifest = await buildModel(options(folder));
    picture = await sharp({ create: { width: 50, height: 40, channels: 3, background: "#c83214" } })
      .png()
      .toBuffer();
  });
  after(() => rmSync(temporary, { recursive: true, force: true }));

  /** A copy that a test may damage. */
  function copy(name: string): string {
    const target = join(temporary, name);
    cpSync(folder, target, { recursive: true });
    return target;
  }

  it("contains exactly the files that its manifest lists", () => {
    assert.deepEqual(filesBelow(folder), [...Object.keys(manifest.files), "epalm.json"].sort());
  });

  it("has a JSON schema that is up to date", () => {
    const path = "models/manifest.schema.json";
    const expected = `${JSON.stringify(manifestJsonSchema(), undefined, 2)}\n`;
    assert.ok(readFileSync(path, "utf8") === expected, `${path} is out of date: npm run schema`);
  });

  it("is rejected with the name of a file that is missing, truncated or changed", async () => {
    for (const name of Object.keys(manifest.files)) {
      const damaged = copy("damaged");
      const path = join(damaged, name);
      const bytes = readFileSync(path);
      writeFileSync(path, bytes.subarray(0, bytes.length - 1));
      await assert.rejects(openModelFolder(damaged), {
        code: "invalid_model",
        message: /expected \d+ bytes, got \d+/,
      });
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
      writeFileSync(path, bytes);
      await assert.rejects(openModelFolder(damaged), {
        code: "invalid_model",
        message: new RegExp(`${name}: is damaged`),
      });
      rmSync(path);
      await assert.rejects(load(damaged), {
        code: "invalid_model",
        message: new RegExp(`${name}: is missing`),
      });
      rmSync(damaged, { recursive: true });
    }
  });

  it("is rejected with the invalid key of its manifest", async () => {
    const changes: [object, RegExp][] = [
      [{ version: 2 }, /'version'/],
      [{ surprise: 1 }, /surprise/],
      [{ encoder: { ...manifest.encoder, graph: "../elsewhere.onnx" } }, /'encoder\.graph'/],
      [
        { decoder: { ...manifest.decoder, shape: { ...manifest.decoder.shape, layers: -1 } } },
        /'decoder\.shape\.layers'/,
      ],
    ];
    for (const [change, message] of changes) {
      const damaged = copy("changed");
      writeFileSync(join(damaged, "epalm.json"), JSON.stringify({ ...manifest, ...change }));
      await assert.rejects(load(damaged), { code: "invalid_model", message });
      rmSync(damaged, { recursive: true });
    }
    await assert.rejects(load(temporary), { code: "not_found", message: /epalm\.json: no such file/ });
  });

  it("does not overwrite another folder, and a failing build leaves nothing behind", async () => {
    await assert.rejects(buildModel(options(folder)), { code: "invalid_option", message: /already exists/ });
    const output = join(temporary, "failed");
    const encoder = { ...options(output).encoder, path: join(golden, "decoder") };
    await assert.rejects(buildModel(options(output, { encoder })), { name: "EpalmError" });
    assert.ok(!existsSync(output) && !existsSync(`${output}.part`));
  });

  it("is rejected if a file that it uses has no checksum", async () => {
    const damaged = copy("unlisted");
    const { [manifest.decoder.graph]: _, ...files } = manifest.files;
    writeFileSync(join(damaged, "epalm.json"), JSON.stringify({ ...manifest, files }));
    await assert.rejects(openModelFolder(damaged), {
      code: "invalid_model",
      message: /model\.onnx: is used, but is not listed in the manifest's 'files'/,
    });
  });

  it("is not built with names that are invalid in the manifest", async () => {
    const [adapter] = options(folder).adapters;
    assert.ok(adapter);
    const output = join(temporary, "misnamed");
    const wrong: [Partial<BuildOptions>, RegExp][] = [
      [{ name: "" }, /^name: /],
      [{ adapters: [{ ...adapter, name: "../evil" }] }, /^adapter '\.\.\/evil': expected a name of letters/],
      [{ adapters: [{ ...adapter, name: "__proto__" }] }, /^adapter '__proto__': expected a name of letters/],
      [{ adapters: [adapter, adapter] }, /^adapter 'main': is given twice/],
      [{ adapters: [{ ...adapter, tasks: [] }] }, /^adapter 'main': expected at least one task, got none/],
    ];
    for (const [change, message] of wrong) {
      await assert.rejects(buildModel(options(output, change)), { code: "invalid_option", message });
    }
    assert.ok(!existsSync(output));
  });

  it("is built at a path with a trailing slash", async () => {
    const output = join(temporary, "slash");
    const built = await buildModel(options(`${output}/`));
    assert.equal(built.name, "slash");
    assert.deepEqual(filesBelow(output), filesBelow(folder));
  });

  it("is rejected with an adapter that injects more states than its encoder has", async () => {
    const [adapter] = options(folder).adapters;
    assert.ok(adapter);
    const path = join(golden, "adapter.safetensors");
    const settings = { injectedStates: 5, startLayer: 1, endLayer: 6 };
    await assert.rejects(buildModel(options(join(temporary, "deep"), { adapters: [{ ...adapter, path, settings }] })), {
      code: "invalid_adapter",
      message: /adapter\.safetensors: injects 5 states, but the encoder has only 4 blocks/,
    });
    const large = copy("deep");
    const { file } = manifest.adapters.main ?? assert.fail("the folder has its adapter");
    writeAdapter(join(large, file), await readAdapter(path, settings));
    await assert.rejects(loadAdapter({ path: large, manifest }, "main"), {
      code: "invalid_adapter",
      message: /injects 5 states/,
    });
  });

  it("reports the missing setting of an adapter without settings", async () => {
    const adapters = [{ name: "a", path: join(golden, "adapter.safetensors"), tasks: ["caption" as const] }];
    await assert.rejects(buildModel(options(join(temporary, "bare"), { adapters })), {
      code: "invalid_adapter",
      message: /adapter\.safetensors: setting 'injectedStates': the file does not specify it/,
    });
  });

  for (const precision of precisions) {
    it(`answers questions about images in ${precision}`, async () => {
      const output = join(temporary, `model-${precision}`);
      const base = options(output);
      await buildModel({
        ...base,
        encoder: { ...base.encoder, precision },
        decoder: { ...base.decoder, precision },
      });
      const model = await load(output, { threads: 1 });
      try {
        const file = join(temporary, "picture.png");
        writeFileSync(file, picture);
        const pieces: string[] = [];
        const streamed = await model.caption(picture, { beams: 1, onText: (piece) => pieces.push(piece) });
        assert.equal(pieces.join(""), streamed.text);
        assert.equal((await model.caption(file, { beams: 1 })).text, streamed.text);
        const [one, two] = await Promise.all([model.vqa(picture, "what is this?"), model.vqa(picture, "what is this")]);
        // Quantized sequences of one step share a scale: see docs/decisions/0004.
        if (!multipliesIntegers(precision)) assert.equal(one.text, two.text);
        assert.ok(one.usage.newTokens > 0 && two.usage.newTokens > 0);
        const { answers } = await model.rank(picture, "is it red?", ["yes", "no", "two dogs"]);
        assert.ok(Math.abs(answers.reduce((sum, { probability }) => sum + probability, 0) - 1) < 1e-9);
      } finally {
        await model.close();
      }
    });
  }

  it("reports errors in requests", async () => {
    const model = await load(folder, { threads: 1 });
    try {
      const wrong: [() => Promise<unknown>, RegExp][] = [
        [() => model.caption(picture, { adapter: "other" }), /adapter 'other': expected one of main/],
        [() => model.caption(picture, { beams: 99 }), /beams: expected an integer from 1 to 16, got 99/],
        [
          () => model.caption(picture, { maxNewTokens: 64 }),
          /maxNewTokens: the prompt has 1 tokens, and 64 more exceed the model's limit/,
        ],
        [() => model.vqa(picture, "  ??"), /question: expected a non-empty string/],
        [() => model.vqa(picture, "x".repeat(3000)), /question: expected at most 2000 characters, got 3000/],
        [() => model.caption({ pixels: new Float32Array(3) }), /pixels: expected 3072 numbers, \[3, 32, 32\], got 3/],
        [() => model.caption(Buffer.from("no picture")), /media/],
        [() => model.rank(picture, "what?", []), /candidates: expected 1 to/],
        [() => model.caption(picture, { signal: AbortSignal.abort() }), /was cancelled/],
      ];
      for (const [request, message] of wrong) await assert.rejects(request, { name: "EpalmError", message });
      assert.ok((await model.caption(picture, { beams: 1 })).texts.length === 1, "the model still answers");
    } finally {
      await model.close();
    }
  });
});
