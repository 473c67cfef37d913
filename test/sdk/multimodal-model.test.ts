import assert from "node:assert/strict";
import { createReadStream, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { EpalmError, load } from "../../src/index.js";
import type { AskOptions, Model, RankOptions, StreamOptions } from "../../src/pipeline.js";
import {
  type AnswerStream,
  type AskOptions as ClientAskOptions,
  type RankOptions as ClientRankOptions,
  type StreamOptions as ClientStreamOptions,
  type CommonAnswer,
  type CommonAnswers,
  type CommonAskOptions,
  type CommonMedium,
  type CommonRanking,
  type CommonRankOptions,
  type CommonStreamOptions,
  EpalmClient,
  type MultimodalModel,
} from "../../src/sdk/index.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";
import { makeMedia, threeColours, tone } from "../support/make-media.js";
import { piecesOf } from "../support/pieces-of.js";
import { startServer } from "../support/running-server.js";
import { settledSteps } from "../support/settled-steps.js";
import { buildTinyModel, picture, temporaryFolder } from "../support/tiny-model.js";

/*
 * The same code compiles against a loaded model and against a service, and gives the same results with both.
 */

/** Compiles if `Options` has all common options and accepts all their values. */
type Takes<Common extends Options, Options> = keyof Common extends keyof Options ? true : never;
const takes: readonly [
  Takes<CommonAskOptions, AskOptions>,
  Takes<CommonAskOptions, ClientAskOptions>,
  Takes<CommonRankOptions, RankOptions>,
  Takes<CommonRankOptions, ClientRankOptions>,
  Takes<CommonStreamOptions, StreamOptions>,
  Takes<CommonStreamOptions, ClientStreamOptions>,
] = [true, true, true, true, true, true];

const asModel = (model: Model): MultimodalModel => model;
const asClient = (client: EpalmClient): MultimodalModel => client;

const folder = await buildTinyModel();
const { url, models } = await startServer({ models: { tiny: folder } });
const { model } = models.get("tiny");
const forms = { model: asModel(model), client: asClient(new EpalmClient({ baseUrl: url, retries: 0 })) };

const bytes = await picture();
const file = join(temporaryFolder(), "picture.png");
writeFileSync(file, bytes);

interface Heard {
  readonly pieces: string[];
}

const writing: Readonly<Record<string, (target: MultimodalModel, heard: Heard) => Promise<CommonAnswer>>> = {
  "a caption": (target) => target.caption(bytes),
  "a caption of a file": (target) => target.caption(file),
  "a caption with beams": (target) =>
    target.caption(bytes, { beams: 3, numReturnSequences: 2, lengthPenalty: 0.5, earlyStopping: "never" }),
  "a caption with beams that stop early": (target) => target.caption(bytes, { beams: 2, earlyStopping: true }),
  "a sampled caption": (target) =>
    target.caption(bytes, { temperature: 1.1, topK: 20, topP: 0.9, seed: 5, numReturnSequences: 2 }),
  "a caption with bounds and stops": (target) =>
    target.caption(bytes, { maxNewTokens: 12, minNewTokens: 3, stop: ["\n", "x\n"] }),
  "a caption with penalties": (target) =>
    target.caption(bytes, { repetitionPenalty: 1.3, frequencyPenalty: 0.4, presencePenalty: -0.2, topLogprobs: 2 }),
  "a caption with biases": (target) =>
    target.caption(bytes, { temperature: 1, minP: 0.1, logitBias: { 5: -100, 'a "word"': 1.5 } }),
  "a caption with onText": (target, { pieces }) =>
    target.caption(bytes, { beams: 1, onText: (piece) => pieces.push(piece) }),
  "an answer": (target) => target.vqa(bytes, "what is it?"),
  "an answer of a named adapter": (target) => target.vqa(bytes, "what?", { adapter: "answers", maxNewTokens: 5 }),
  "a question of several lines": (target) => target.vqa(bytes, "one\ntwo\r\nthree\rfour", { maxNewTokens: 5 }),
  "a question of another script": (target) => target.vqa(bytes, "¿qué 猫 🐈?", { maxNewTokens: 5 }),
  "a question that is a number": (target) => target.vqa(bytes, "42", { maxNewTokens: 5 }),
  "a caption in pieces": (target, heard) => asStream(target.streamCaption(bytes, { beams: 1 }), heard),
  "a sampled caption, in pieces": (target, heard) =>
    asStream(target.streamCaption(file, { temperature: 1.1, seed: 3, maxNewTokens: 12 }), heard),
  "a caption with beams in one piece": (target, heard) =>
    asStream(target.streamCaption(bytes, { beams: 2, maxNewTokens: 8 }), heard),
  "an answer in pieces": (target, heard) =>
    asStream(target.streamVqa(bytes, "what is it?", { beams: 1, maxNewTokens: 9 }), heard),
  "the answer of a stream that is not iterated": (target) =>
    target.streamVqa(bytes, "what is it?", { beams: 1, maxNewTokens: 9 }).answer(),
};

async function asStream(stream: AnswerStream<string, CommonAnswer>, { pieces }: Heard): Promise<CommonAnswer> {
  for await (const piece of stream) pieces.push(piece);
  assert.deepEqual(await piecesOf(stream), []);
  const answer = await stream.answer();
  assert.equal(pieces.join(""), answer.text);
  return answer;
}

for (const [title, ask] of Object.entries(writing)) {
  test(`gives the same result in both forms: ${title}`, async () => {
    const heard = { here: { pieces: [] }, there: { pieces: [] } };
    const here = await ask(forms.model, heard.here);
    const there = await ask(forms.client, heard.there);
    assert.deepEqual(textsOf(there), textsOf(here));
    assert.equal(there.text, here.text);
    assert.deepEqual([there.adapter, there.modality, there.usage], [here.adapter, here.modality, here.usage]);
    assert.deepEqual(heard.there, heard.here);
    assert.deepEqual(missing(here.timings, there.timings), []);
    assert.deepEqual(missing(here, there), []);
    assert.equal(there.model, "tiny");
  });
}

/** Functions, because a stream can be read only once. */
const mediumForms: Readonly<Record<string, () => CommonMedium>> = {
  "a file: URL": () => pathToFileURL(file),
  "a data: URL": () => new URL(`data:image/png;base64,${Buffer.from(bytes).toString("base64")}`),
  "a blob: URL": () => new URL(URL.createObjectURL(new Blob([bytes]))),
  "an ArrayBuffer": () => new Uint8Array(bytes).buffer,
  "a Blob": () => new Blob([bytes]),
  "a File": () => new File([bytes], "picture.png"),
  "a web stream": () => new Blob([bytes]).stream(),
  "a stream of Node": () => createReadStream(file, { highWaterMark: 100 }),
  "a generator": async function* () {
    yield bytes.subarray(0, 10);
    yield bytes.subarray(10);
  },
};

for (const [form, medium] of Object.entries(mediumForms)) {
  test(`accepts ${form} in both forms`, async () => {
    const expected = await forms.model.caption(bytes, { maxNewTokens: 6 });
    for (const target of Object.values(forms)) {
      const { text } = await target.caption(medium(), { maxNewTokens: 6 });
      assert.equal(text, expected.text);
      const { answers } = await target.vqa(medium(), ["what?", "where?"], { maxNewTokens: 3 });
      assert.equal(answers.length, 2);
    }
  });
}

test("rejects URLs in a loaded model and names the accepted forms", async () => {
  const refused = (medium: unknown) => model.caption(medium as string);
  const message = (text: RegExp) => ({ code: "invalid_option", message: text });
  await assert.rejects(refused(new URL("https://example.org/a.png")), message(/file:, data: or blob: URL .*https:$/));
  await assert.rejects(refused(new URL("file://elsewhere/a.png")), message(/^media: expected a file: URL/));
  for (const medium of [3, null, undefined, {}, [], { pixels: [1, 2] }]) {
    await assert.rejects(refused(medium), message(/^media: expected a path, a URL, bytes/));
  }
});

test("cancels a stream without data by the signal and reports why a stream fails", async () => {
  const silent = new ReadableStream<Uint8Array>({});
  await assert.rejects(model.caption(silent, { signal: AbortSignal.timeout(20) }), { code: "aborted" });
  const failing = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.error(new TypeError("gone")),
  });
  await assert.rejects(model.caption(failing), { code: "invalid_option", message: /stream failed: gone/ });
});

test("shares one stream among several questions of the text-only baseline", async () => {
  const stream = new Blob([bytes]).stream();
  const { answers } = await model.vqa(stream, ["what?", "where?"], { textOnly: true, maxNewTokens: 3 });
  assert.equal(answers.length, 2);
});

const ranking: Readonly<Record<string, (target: MultimodalModel) => Promise<CommonRanking>>> = {
  "a ranking": (target) => target.rank(bytes, "is it?", ["yes", "no", "perhaps"]),
  "a ranking by mean": (target) => target.rank(bytes, "is it?", ["yes", "perhaps so"], { normalisation: "mean" }),
  "a ranking with equals": (target) => target.rank(bytes, "is it?", ["b", "a", "b"], { adapter: "answers" }),
  "a ranking of one": (target) => target.rank(bytes, "is it?", ["yes"]),
};

for (const [title, ask] of Object.entries(ranking)) {
  test(`gives the same result in both forms: ${title}`, async () => {
    const [here, there] = [await ask(forms.model), await ask(forms.client)];
    assert.equal(there.answers.length, here.answers.length);
    for (const [at, answer] of here.answers.entries()) {
      const other = there.answers[at];
      assert.deepEqual([other?.text, other?.index], [answer.text, answer.index]);
      for (const name of ["score", "probability", "logProb", "meanLogProb"] as const) {
        assertClose(other?.[name], answer[name]);
      }
    }
    assert.deepEqual(there.usage, here.usage);
    assert.deepEqual(missing(here, there), []);
  });
}

const questions = ["what is it?", "where?", "what is it?"];

type Told = string[];

const several: Readonly<Record<string, (target: MultimodalModel, told: Told) => Promise<CommonAnswers>>> = {
  "several questions": (target) => target.vqa(bytes, questions, { maxNewTokens: 6 }),
  "a list of one question": (target) => target.vqa(file, ["what?"], { maxNewTokens: 6 }),
  "several questions with onText": (target, told) =>
    target.vqa(bytes, questions, {
      beams: 1,
      maxNewTokens: 6,
      onText: (piece, index) => {
        told[index] = (told[index] ?? "") + piece;
      },
    }),
  "several questions in pieces": async (target, told) => {
    const stream = target.streamVqa(bytes, questions, { beams: 1, maxNewTokens: 6 });
    for await (const { index, text } of stream) told[index] = (told[index] ?? "") + text;
    return stream.answer();
  },
};

for (const [title, ask] of Object.entries(several)) {
  test(`gives the same result in both forms: ${title}`, async () => {
    const told = { here: [] as Told, there: [] as Told };
    const [here, there] = [await ask(forms.model, told.here), await ask(forms.client, told.there)];
    const plain = ({ answers }: CommonAnswers) =>
      answers.map(({ question, text, texts }) => ({ question, text, texts: textsOf({ texts }) }));
    assert.deepEqual(plain(there), plain(here));
    assert.deepEqual([there.adapter, there.modality, there.usage], [here.adapter, here.modality, here.usage]);
    assert.deepEqual(told.there, told.here);
    const texts = here.answers.map(({ text }) => text);
    if (told.here.length > 0) assert.deepEqual(told.here, texts);
    assert.deepEqual(missing(here, there), []);
    assert.deepEqual(missing(here.timings, there.timings), []);
  });
}

for (const [name, target] of Object.entries(forms)) {
  test(`cancels the request when a stream is left: ${name}`, async () => {
    const stepsBefore = await settledSteps(model);
    // Many questions make each step long enough to cancel between two steps.
    const many = Array.from({ length: 16 }, (_, at) => `${at}`);
    const stream = target.streamVqa(bytes, many, { beams: 1, maxNewTokens: 55 });
    for await (const _ of stream) break;
    await assert.rejects(stream.answer(), { code: "aborted" });
    const steps = (await settledSteps(model)) - stepsBefore;
    assert.ok(steps < 50, `${steps} steps of 55`);
  });

  test(`cancels a stream by its signal: ${name}`, async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const stream = target.streamVqa(bytes, questions, { beams: 1, maxNewTokens: 55, signal });
    const loop = async () => {
      for await (const _ of stream) controller.abort();
    };
    await assert.rejects(loop(), { code: "aborted" });
  });

  test(`sends no request for a stream that is not read: ${name}`, async () => {
    const before = (await model.counts()).encoder.examples;
    const stream = target.streamCaption(await picture(91));
    await stream.cancel();
    await assert.rejects(stream.answer(), { code: "aborted" });
    assert.equal((await model.counts()).encoder.examples, before);
  });
}

/** Options that the compiler would reject in TypeScript. */
const wrong = (options: object) => options as CommonAskOptions;

const sensesFolder = await buildAllSensesModel();
const sensesServer = await startServer({ models: { tiny: sensesFolder } });
/** A separate instance, because the service's own has cached encoder states. */
const loaded = await load(sensesFolder, { threads: 1 });
after(() => loaded.close());
const senses = {
  model: asModel(loaded),
  client: asClient(new EpalmClient({ baseUrl: sensesServer.url, retries: 0 })),
};
const sound = makeMedia("tone.wav", ...tone);
const video = makeMedia("film.mov", ...threeColours, "-c:v", "mpeg4");
const animation = makeMedia("colours.gif", ...threeColours, "-r", "5");
const soundFile = join(temporaryFolder(), "a sound");
writeFileSync(soundFile, sound);

const sensing: Readonly<
  Record<string, readonly [string, (target: MultimodalModel, heard: Heard) => Promise<CommonAnswer>]>
> = {
  "a caption of audio": ["audio", (target) => target.caption(sound, { maxNewTokens: 6 })],
  "a caption of an audio file": ["audio", (target) => target.caption(soundFile, { maxNewTokens: 6 })],
  "an answer about audio": ["audio", (target) => target.vqa(sound, "high?", { maxNewTokens: 6 })],
  "an answer about a video": ["video", (target) => target.vqa(video, "what moves?", { maxNewTokens: 6 })],
  "a video with its modality": ["video", (target) => target.caption(video, { modality: "video", maxNewTokens: 6 })],
  "a caption of a video in pieces": [
    "video",
    (target, heard) => asStream(target.streamCaption(video, { beams: 1, maxNewTokens: 6 }), heard),
  ],
  "a caption of an image": ["image", (target) => target.caption(bytes, { maxNewTokens: 6 })],
  "an animation": ["video", (target) => target.caption(animation, { maxNewTokens: 6 })],
  "an animation as an image": ["image", (target) => target.caption(animation, { modality: "image", maxNewTokens: 6 })],
  "an animation for an image adapter": [
    "image",
    (target) => target.vqa(animation, "what?", { adapter: "pictures", maxNewTokens: 6 }),
  ],
};

for (const [title, [modality, ask]] of Object.entries(sensing)) {
  test(`gives the same result in both forms: ${title}`, async () => {
    const heard = { here: { pieces: [] }, there: { pieces: [] } };
    const here = await ask(senses.model, heard.here);
    const there = await ask(senses.client, heard.there);
    assert.deepEqual(textsOf(there), textsOf(here));
    assert.deepEqual([there.adapter, there.modality, there.usage], [here.adapter, modality, here.usage]);
    assert.deepEqual(heard.there, heard.here);
    assert.deepEqual(missing(here.timings, there.timings), []);
  });
}

test("gives the same result in both forms: ranked and several answers about audio", async () => {
  const rank = (target: MultimodalModel) => target.rank(sound, "high?", ["yes", "no"], { modality: "audio" });
  const [here, there] = [await rank(senses.model), await rank(senses.client)];
  for (const [at, { text, score }] of here.answers.entries()) {
    assert.equal(there.answers[at]?.text, text);
    assertClose(there.answers[at]?.score, score);
  }
  const all = (target: MultimodalModel) => target.vqa(video, questions, { maxNewTokens: 5 });
  const texts = ({ answers }: CommonAnswers) => answers.map(({ text }) => text);
  assert.deepEqual(texts(await all(senses.client)), texts(await all(senses.model)));
});

const misled: Readonly<Record<string, (target: MultimodalModel) => Promise<unknown>>> = {
  "audio as an image": (target) => target.caption(sound, { modality: "image" }),
  "audio as a video": (target) => target.caption(sound, { modality: "video" }),
  "a video without sound as audio": (target) => target.vqa(video, "loud?", { modality: "audio" }),
  "an adapter of another modality": (target) => target.caption(sound, { modality: "audio", adapter: "clips" }),
  "audio for a video adapter": (target) => target.caption(sound, { adapter: "clips" }),
  "an unknown adapter of audio": (target) => target.vqa(sound, "high?", { adapter: "nobody" }),
  "an unknown modality": (target) => target.caption(sound, wrong({ modality: "smell" })),
  "truncated audio": (target) => target.caption(sound.subarray(0, 40)),
  "bytes that are not media": (target) => target.caption(Buffer.from("no medium at all")),
};

for (const [title, ask] of Object.entries(misled)) {
  test(`rejects with the same code in both forms: ${title}`, async () => {
    const [here, there] = [await errorOf(ask(senses.model)), await errorOf(ask(senses.client))];
    assert.equal(there.code, here.code, `${there.message} / ${here.message}`);
  });
}

test("rejects with the same code in both forms: audio for a model that accepts images only", async () => {
  for (const options of [{}, { modality: "audio" }] as const) {
    const [here, there] = [
      await errorOf(forms.model.caption(sound, options)),
      await errorOf(forms.client.caption(sound, options)),
    ];
    assert.equal(there.code, here.code, `${there.message} / ${here.message}`);
  }
});

const refusing: Readonly<Record<string, (target: MultimodalModel) => Promise<unknown>>> = {
  "too few tokens": (target) => target.caption(bytes, { maxNewTokens: 0 }),
  "options that exclude each other": (target) => target.caption(bytes, { beams: 2, temperature: 1 }),
  "an option of another type": (target) => target.caption(bytes, wrong({ maxNewTokens: "5" })),
  "an option that is not finite": (target) => target.caption(bytes, { temperature: Number.NaN }),
  "a string instead of a list": (target) => target.caption(bytes, wrong({ stop: "x" })),
  "an unknown option": (target) => target.caption(bytes, wrong({ max_tokens: 5 })),
  "an unknown adapter": (target) => target.caption(bytes, { adapter: "nobody" }),
  "an unknown option of a stream": async (target) => target.streamCaption(bytes, wrong({ max_tokens: 5 })).answer(),
  "a stream with onText": async (target) => target.streamCaption(bytes, wrong({ onText: () => undefined })).answer(),
  "a stream about a damaged image": async (target) => target.streamCaption(bytes.subarray(0, 200)).answer(),
  "no questions": (target) => target.vqa(bytes, []),
  "a question that is not a string": (target) => target.vqa(bytes, 7 as unknown as string),
  "an empty question among several": (target) => target.vqa(bytes, ["what?", " ? "]),
  "no candidates": (target) => target.rank(bytes, "is it?", []),
  "no image": (target) => target.caption(new Uint8Array([1, 2, 3])),
  "a truncated image": (target) => target.caption(bytes.subarray(0, 200)),
  "a missing file": (target) => target.caption("nowhere.png"),
  "a folder": (target) => target.caption("test"),
  "a cancelled call": (target) => target.caption(bytes, { signal: AbortSignal.abort() }),
};

for (const [title, ask] of Object.entries(refusing)) {
  test(`rejects with the same code in both forms: ${title}`, async () => {
    const [here, there] = [await errorOf(ask(forms.model)), await errorOf(ask(forms.client))];
    assert.equal(there.code, here.code, `${there.message} / ${here.message}`);
  });
}

test("a loaded model is a MultimodalModel", async () => {
  assert.ok(takes.every(Boolean));
  const own = await load(folder, { threads: 1 });
  try {
    const target: MultimodalModel = own;
    assert.equal((await target.caption(bytes)).text, (await forms.client.caption(bytes)).text);
  } finally {
    await own.close();
  }
});

/** The fields of texts that both forms have. */
function textsOf({ texts }: Pick<CommonAnswer, "texts">) {
  return texts.map(({ text, score, finish }) => ({ text, score: score.toFixed(4), finish }));
}

/** Keys of `here` that `there` lacks. */
function missing(here: object, there: object): string[] {
  return Object.keys(here).filter((key) => !(key in there));
}

/** Sequences that share a step with others may differ in the last bits. */
function assertClose(got: number | undefined, expected: number): void {
  assert.ok(got !== undefined && Math.abs(got - expected) < 1e-4, `${got} / ${expected}`);
}

async function errorOf(call: Promise<unknown>): Promise<EpalmError> {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof EpalmError, String(error));
    return error;
  }
  assert.fail("expected an error");
}
