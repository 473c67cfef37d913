import assert from "node:assert/strict";
import { cpSync, existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Adapter, VisualTokenSettings } from "../../src/adapter/adapter.js";
import type { Modality } from "../../src/core/modality.js";
import { randomStreams } from "../../src/core/random.js";
import {
  type Answer,
  buildModel,
  installAdapter,
  load,
  MANIFEST_FILE,
  type Manifest,
  type Model,
  openModelFolder,
  readManifest,
} from "../../src/index.js";
import { encoderOf } from "../../src/model/encoders.js";
import { adapterWidths, backbonesOf } from "../../src/model/model-folder.js";
import { addPatchGraph } from "../../src/model/patch-graph.js";
import { initialAdapter } from "../../src/training/adapter/initial-adapter.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";
import { makeMedia, threeColours, tone } from "../support/make-media.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { picture } from "../support/tiny-model.js";

const temporary = temporaryFolder();
const at = (name: string) => join(temporary, name);

const shared = { startLayer: 0, endLayer: 6, promptLength: 1, promptForm: "table" } as const;
const prefix = { kind: "prefix", states: "all", projection: "linear", norm: false } as const;
const queries = { kind: "queries", queries: 3, width: 16, layers: 1, heads: 2, depths: 2, norm: true } as const;

/** Adapters by name, with the number of their visual tokens. */
const adapters: Readonly<Record<string, readonly [modality: Modality, settings: VisualTokenSettings, tokens: number]>> =
  {
    all: ["image", { ...shared, connector: prefix }, 16],
    pooled: ["image", { ...shared, endLayer: 4, connector: { ...prefix, states: { pool: 3 }, projection: "mlp" } }, 9],
    shuffled: ["image", { ...shared, promptLength: 0, connector: { ...prefix, states: { pixelShuffle: 2 } } }, 4],
    asked: ["image", { ...shared, startLayer: 2, connector: queries }, 3],
    "heard-prefix": ["audio", { ...shared, connector: { ...prefix, states: { pool: 2 } } }, 2],
    "heard-queries": ["audio", { ...shared, connector: queries }, 3],
    "seen-prefix": ["video", { ...shared, connector: { ...prefix, states: { pool: 1 }, norm: true } }, 2],
    "seen-queries": ["video", { ...shared, connector: queries }, 3],
  };

async function randomAdapter(folder: string, modality: Modality, settings: VisualTokenSettings): Promise<Adapter> {
  const { manifest } = addPatchGraph(await openModelFolder(folder, { checksums: false }), modality, settings);
  const [random = Math.random] = randomStreams(5, 1);
  return initialAdapter(settings, adapterWidths(backbonesOf(manifest, modality)), random);
}

/** The manifest of a folder that an earlier version built. */
function forgetVisualTokens(folder: string): void {
  const { decoder, ...rest } = readManifest(folder);
  const { visualTokens: _unknown, ...old } = decoder;
  writeFileSync(join(folder, MANIFEST_FILE), JSON.stringify({ ...rest, decoder: old }));
}

const options = { beams: 1, maxNewTokens: 5 } as const;

function assertSameAnswer(found: Answer, expected: Answer, what: string, tolerance = 1e-5): void {
  assert.equal(found.text, expected.text, what);
  const [own, other] = [found.texts[0]?.logProbs ?? [], expected.texts[0]?.logProbs ?? []];
  assert.equal(own.length, other.length, what);
  for (const [index, value] of own.entries()) {
    assert.ok(
      Math.abs(value - Number(other[index])) <= tolerance,
      `${what}, token ${index}: ${value}, ${other[index]}`,
    );
  }
}

describe("adapters with visual tokens", () => {
  let media: Readonly<Record<Modality, Uint8Array>>;
  let model: Model;
  let manifest: Manifest;
  before(async () => {
    await buildAllSensesModel(at("plain"));
    cpSync(at("plain"), at("model"), { recursive: true });
    for (const [name, [modality, settings]] of Object.entries(adapters)) {
      const adapter = await randomAdapter(at("model"), modality, settings);
      manifest = await installAdapter(at("model"), name, adapter, ["caption", "vqa"], modality);
    }
    media = {
      image: await picture(),
      audio: makeMedia("tone.wav", ...tone),
      video: makeMedia("clip.mp4", ...threeColours),
    };
    model = await load(at("model"), { threads: 1, stateCacheBytes: 1 << 20 });
  });
  after(() => model.close());

  const ask = (name: string) => model.caption(media[adapters[name]?.[0] ?? "image"], { ...options, adapter: name });

  it("answer for images, audio and video, alone as in one batch with other adapters", async () => {
    const names = [...Object.keys(adapters), "pictures", "sounds", "clips"];
    const modalityOf = (name: string) => adapters[name]?.[0] ?? encoderNames[name] ?? "image";
    const caption = (name: string) => model.caption(media[modalityOf(name)], { ...options, adapter: name });
    const alone: Answer[] = [];
    for (const name of names) alone.push(await caption(name));
    const together = await Promise.all(names.map(caption));
    for (const [index, name] of names.entries()) {
      assert.equal(together[index]?.adapter, name);
      assertSameAnswer(together[index] as Answer, alone[index] as Answer, name);
    }
    const texts = new Set(alone.map(({ texts }) => JSON.stringify(texts[0]?.logProbs)));
    assert.equal(texts.size, names.length, "each adapter has an influence");
  });

  const encoderNames: Readonly<Record<string, Modality>> = { pictures: "image", sounds: "audio", clips: "video" };

  it("share the weights of the encoders, whose own states stay the same", async () => {
    const { graph, patches } = encoderOf(manifest, "image");
    assert.deepEqual([patches?.frames, patches?.rows, patches?.columns], [1, 4, 4]);
    assert.ok(statSync(join(at("model"), patches?.graph ?? "")).size < 3 * statSync(join(at("model"), graph)).size);
    const plain = await load(at("plain"), { threads: 1 });
    const [own, other] = [await model.encode(media.image), await plain.encode(media.image)];
    assert.deepEqual(own.states, other.states);
    assert.equal(other.patches, undefined);
    assert.deepEqual(own.patches?.shape, [2, 16, 32]);
    const expected = await plain.caption(media.image, { ...options, adapter: "pictures" });
    assertSameAnswer(
      await model.caption(media.image, { ...options, adapter: "pictures" }),
      expected,
      "cls-injection",
      0,
    );
    await plain.close();
  });

  it("answer the same from cached states, from encoded media and for a list of questions", async () => {
    const first = await ask("asked");
    const { cacheHits } = (await model.counts()).encoder;
    assertSameAnswer(await ask("asked"), first, "cached", 0);
    assert.ok((await model.counts()).encoder.cacheHits > cacheHits);
    const encoded = await model.encode(media.image);
    assertSameAnswer(await encoded.caption({ ...options, adapter: "asked" }), first, "encoded", 0);
    const { answers } = await model.vqa(media.image, ["what is it", "where is it"], { ...options, adapter: "asked" });
    assert.equal(answers.length, 2);
    const ranking = await encoded.rank("what is it", ["a cat", "a dog"], { adapter: "pooled" });
    assert.equal(ranking.answers.length, 2);
    const blind = await model.caption(media.image, { ...options, adapter: "asked", textOnly: true });
    assert.notDeepEqual(blind.texts[0]?.logProbs, first.texts[0]?.logProbs);
  });

  it("reject states without the patches that they take", async () => {
    const { states } = await model.encode(media.image);
    await assert.rejects(model.caption({ states, modality: "image" }, { ...options, adapter: "asked" }), {
      code: "invalid_option",
      message: /adapter 'asked': expected patches of the last 2 blocks.*got none/,
    });
    const patches = { type: "float32", shape: [2, 9, 32], data: new Float32Array(2 * 9 * 32) } as const;
    await assert.rejects(model.caption({ states, patches, modality: "image" }, { ...options, adapter: "asked" }), {
      code: "invalid_option",
      message: /patches: expected float32 \[2, 16, 32\], got float32 \[2, 9, 32\]/,
    });
  });

  it("count their tokens among the positions of the decoder", async () => {
    await assert.rejects(model.caption(media.image, { ...options, adapter: "all", maxNewTokens: 60 }), {
      code: "invalid_option",
      message: /the prompt has 1 tokens and the medium 16, and 60 more exceed the model's limit of 64/,
    });
  });

  it("can be added to a running model, whose cached states are then computed again", async () => {
    cpSync(at("plain"), at("running"), { recursive: true });
    const running = await load(at("running"), { threads: 1, stateCacheBytes: 1 << 20 });
    const before = await running.caption(media.image, { ...options, adapter: "pictures" });
    const settings = { ...shared, connector: queries };
    const adapter = await randomAdapter(at("model"), "image", settings);
    await assert.rejects(running.useAdapter("later", adapter), { code: "invalid_adapter", message: /no graph/ });
    await installAdapter(at("running"), "later", adapter, ["caption"], "image");
    assert.deepEqual((await running.refreshAdapters()).loaded, ["later"]);
    const late = await running.caption(media.image, { ...options, adapter: "later" });
    await model.useAdapter("later", adapter);
    assertSameAnswer(late, await model.caption(media.image, { ...options, adapter: "later" }), "later");
    assertSameAnswer(await running.caption(media.image, { ...options, adapter: "pictures" }), before, "before");
    await running.close();
  });

  it("can be built into a model folder, also from the backbones of another one", async () => {
    const source = (path: string) => ({ path, given: path, precision: "fp32" as const });
    forgetVisualTokens(at("plain"));
    const path = join(at("model"), "adapters", "asked.safetensors");
    const built = await buildModel({
      output: at("rebuilt"),
      encoder: { ...source(at("plain")), preprocessing: "source" },
      decoder: source(at("plain")),
      adapters: [{ name: "asked", path, tasks: ["caption"] }],
    });
    assert.equal(built.decoder.visualTokens, true);
    assert.deepEqual(built.tasks, manifest.tasks);
    const rebuilt = await load(at("rebuilt"), { threads: 1 });
    assertSameAnswer(await rebuilt.caption(media.image, options), await ask("asked"), "rebuilt");
    await rebuilt.close();
  });

  it("are rejected by a folder whose decoder an earlier version built, with the command that builds it again", async () => {
    forgetVisualTokens(at("plain"));
    const adapter = await randomAdapter(at("model"), "image", { ...shared, connector: queries });
    await assert.rejects(installAdapter(at("plain"), "new", adapter, ["caption"]), {
      code: "invalid_adapter",
      message: /cannot take.*epalm build --encoder FOLDER --decoder FOLDER --output NEW/,
    });
    assert.ok(!existsSync(join(at("plain"), "encoder", "patches.onnx")), "the folder does not change");
  });

  it("stand where the prompt says, after the text before them", async () => {
    cpSync(at("model"), at("inside"), { recursive: true });
    const { tasks, ...rest } = readManifest(at("inside"));
    const write = (prompt: string) =>
      writeFileSync(
        join(at("inside"), MANIFEST_FILE),
        JSON.stringify({ ...rest, tasks: { ...tasks, caption: { ...tasks.caption, prompt } } }),
      );
    const answerTo = async (prompt: string) => {
      write(prompt);
      const inside = await load(at("inside"), { threads: 1, checksums: false });
      const answer = await inside.caption(media.image, { ...options, adapter: "shuffled" });
      await inside.close();
      return answer;
    };
    const [beforeText, afterText] = [await answerTo("a red apple"), await answerTo("a red apple{medium}")];
    const between = await answerTo("a red{medium} apple");
    const all = [beforeText, afterText, between].map(({ texts }) => JSON.stringify(texts[0]?.logProbs));
    assert.equal(new Set(all).size, 3);
    assert.equal(afterText.usage.promptTokens, beforeText.usage.promptTokens);
  });
});
