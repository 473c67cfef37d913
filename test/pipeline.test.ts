import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { openCase } from "../bench/conformance/case.js";
import { buildModel, load, type Manifest, type Model } from "../src/index.js";

const name = "opt-6states-mlp10";
const folder = join("test/fixtures/goldens", name);
const golden = openCase(folder, name);

/** Row `index` of a golden tensor. */
function sequenceAt(tensor: string, index: number): number[] {
  const { shape, data } = golden.golden(tensor);
  const size = data.length / (shape[0] ?? 1);
  return Array.from(data.slice(index * size, (index + 1) * size), Number);
}

/** Builds a model with one adapter per task, both from the same file. */
function build(output: string): Promise<Manifest> {
  const source = (file: string) => ({ path: join(folder, file), given: file, precision: "fp32" as const });
  const adapter = { path: join(folder, "adapter.pth") };
  return buildModel({
    output,
    encoder: { ...source("encoder"), preprocessing: "source" },
    decoder: source("decoder"),
    adapters: [
      { ...adapter, name: "words", tasks: ["caption"] },
      { ...adapter, name: "answers", tasks: ["vqa"] },
    ],
  });
}

describe("a loaded model", () => {
  let temporary: string;
  let output: string;
  let model: Model;
  let picture: Buffer;
  before(async () => {
    temporary = mkdtempSync(join(tmpdir(), "epalm-pipeline-"));
    output = join(temporary, "model");
    await build(output);
    model = await load(output, { threads: 1 });
    const gradient = Uint8Array.from({ length: 60 * 40 * 3 }, (_, i) => (i * 7) % 256);
    picture = await sharp(gradient, { raw: { width: 60, height: 40, channels: 3 } })
      .png()
      .toBuffer();
  });
  after(async () => {
    await model.close();
    rmSync(temporary, { recursive: true, force: true });
  });

  it("encodes pixels as the reference does", async () => {
    const { states } = await model.encode({ pixels: Float32Array.from(sequenceAt("pixels", 1)) });
    const { shape, data } = states;
    const expected = sequenceAt("states", 1);
    assert.deepEqual(shape, golden.golden("states").shape.slice(1));
    expected.forEach((value, at) => {
      assert.ok(Math.abs(Number(data[at]) - value) < 1e-4, `number ${at}: ${data[at]}, expected ${value}`);
    });
  });

  it("accepts an image as bytes, as a path and as pixels", async () => {
    const path = join(temporary, "picture.png");
    writeFileSync(path, picture);
    const ask = { beams: 1, maxNewTokens: 12 };
    const [ofBytes, ofPath] = await Promise.all([model.caption(picture, ask), model.caption(path, ask)]);
    assert.deepEqual(ofBytes.texts, ofPath.texts);
    const pixels = Float32Array.from(sequenceAt("pixels", 0));
    const first = await model.caption({ pixels }, ask);
    assert.deepEqual((await model.caption({ pixels }, ask)).texts, first.texts);
    assert.notDeepEqual(first.texts[0]?.logProbs, ofBytes.texts[0]?.logProbs, "another image gives another text");
  });

  it("answers the same if it opens its encoders and adapters only when media arrive", async () => {
    const lazy = await load(output, { threads: 1, lazy: true });
    try {
      const ask = (asked: Model) => asked.caption(picture, { maxNewTokens: 5 });
      const [expected, ...others] = await Promise.all([ask(model), ask(lazy), ask(lazy)]);
      for (const { texts } of others) assert.deepEqual(texts, expected.texts);
    } finally {
      await lazy.close();
    }
  });

  it("chooses the adapter that was trained for the task or the named one", async () => {
    assert.equal((await model.caption(picture)).adapter, "words");
    assert.equal((await model.vqa(picture, "what?")).adapter, "answers");
    assert.equal((await model.vqa(picture, "what?", { adapter: "words" })).adapter, "words");
    assert.equal((await model.rank(picture, "what?", ["yes", "no"])).adapter, "answers");
    await assert.rejects(model.caption(picture, { adapter: "others" }), {
      code: "not_found",
      message: "adapter 'others': expected one of words, answers",
    });
  });

  it("gives concurrent calls the same results as separate calls", async () => {
    const questions = ["what", "what is the color of the car", "how many dogs", "is it red"];
    const alone = [];
    for (const question of questions) alone.push((await model.vqa(picture, question)).texts[0]?.tokens);
    const together = await Promise.all(questions.map((question) => model.vqa(picture, question)));
    assert.deepEqual(
      together.map(({ texts }) => texts[0]?.tokens),
      alone,
    );
  });

  it("does not use the task's beams when sampling", async () => {
    const { texts } = await model.caption(picture, {
      temperature: 1,
      numReturnSequences: 2,
      seed: 5,
      maxNewTokens: 5,
    });
    assert.equal(texts.length, 2);
  });

  it("rejects a request that is cancelled before or during its computation", async () => {
    await assert.rejects(model.caption(picture, { signal: AbortSignal.abort() }), { code: "aborted" });
    const controller = new AbortController();
    let pieces = 0;
    const taken = model.caption(picture, {
      temperature: 1,
      minNewTokens: 50,
      maxNewTokens: 60,
      signal: controller.signal,
      onText: () => {
        pieces++;
        controller.abort();
      },
    });
    await assert.rejects(taken, { code: "aborted" });
    assert.ok(pieces > 0);
    assert.ok((await model.caption(picture)).texts[0]);
  });

  it("does not block the caller's event loop", async () => {
    let [turns, isDone] = [0, false];
    const answers = Array.from({ length: 8 }, (_, seed) =>
      model.caption(picture, { temperature: 1, seed, minNewTokens: 50, maxNewTokens: 60 }),
    );
    const all = Promise.all(answers).then(() => {
      isDone = true;
    });
    while (!isDone) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      turns++;
    }
    await all;
    // Eight texts take about sixty steps; if they ran in this thread, hardly any timer would fire in between.
    assert.ok(turns > 20, `${turns} timers`);
  });
});

describe("a process that uses a model", () => {
  let temporary: string;
  let output: string;
  before(async () => {
    temporary = mkdtempSync(join(tmpdir(), "epalm-process-"));
    output = join(temporary, "model");
    await build(output);
  });
  after(() => rmSync(temporary, { recursive: true, force: true }));

  /** Runs a module in a separate process, in which `load` and the model's `path` are defined. */
  async function run(script: string): Promise<{ code: number | null; said: string }> {
    const library = JSON.stringify(new URL("../src/index.js", import.meta.url).href);
    const whole = `import { load } from ${library}; const path = ${JSON.stringify(output)}; ${script}`;
    const file = join(temporary, "script.mjs");
    writeFileSync(file, whole);
    const child = spawn(process.execPath, [file], { timeout: 60_000 });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        said += text;
      });
    }
    const [code] = await once(child, "close");
    return { code, said };
  }

  const caption = "await model.caption({ pixels: new Float32Array(3 * 32 * 32) }, { beams: 1 });";

  it("ends by itself once the model is closed", async () => {
    const script = `const model = await load(path); ${caption} await model.close(); console.log("closed");`;
    assert.deepEqual(await run(script), { code: 0, said: "closed\n" });
  });

  it("closes a model that is still computing and rejects its calls", async () => {
    const script = `const model = await load(path);
      const call = model.caption({ pixels: new Float32Array(3 * 32 * 32) }).catch(({ code }) => code);
      await model.close(); console.log(await call);`;
    assert.deepEqual(await run(script), { code: 0, said: "internal\n" });
  });

  it("rejects later calls because the model was closed", async () => {
    const script = `const model = await load(path); await model.close();
      const say = ({ code, message }) => console.log(code, message);
      await model.caption({ pixels: new Float32Array(3 * 32 * 32) }).catch(say);
      await model.scoreText("a text").catch(say);`;
    const line = "aborted the model was closed\n";
    assert.deepEqual(await run(script), { code: 0, said: line + line });
  });

  it("ends when a graph of the model cannot be opened", async () => {
    writeFileSync(join(output, "encoder/model.onnx"), "no graph");
    const script = `await load(path, { checksums: false }).catch(({ code }) => console.log(code));`;
    assert.deepEqual(await run(script), { code: 0, said: "invalid_model\n" });
  });
});
