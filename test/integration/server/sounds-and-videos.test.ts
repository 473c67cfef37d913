import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { load, type Modality, type Model } from "../../../src/index.js";
import { modelList, textAnswer } from "../../../src/wire.js";
import { buildAllSensesModel } from "../../support/all-modalities-model.js";
import { lacksEncoder, makeMedia, threeColours, tone } from "../../support/make-media.js";
import {
  eventsIn,
  form,
  postForm,
  postJson,
  problemIn,
  type Running,
  startServer,
} from "../../support/running-server.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/** Sends real files of all common formats to the service over a real socket. */

let folder: string;
let running: Running;
/** A separate instance, because the service's own has cached encoder states. */
let model: Model;
before(async () => {
  folder = await buildAllSensesModel();
  running = await startServer({ models: { all: folder, tiny: await buildTinyModel() }, logLevel: "silent" });
  model = await load(folder, { threads: 1 });
});
after(() => model.close());

const url = (path: string) => running.url + path;

interface Kind {
  readonly name: string;
  readonly modality: Modality;
  readonly type: string;
  readonly skip: string | false;
  readonly make: () => Buffer | Promise<Buffer>;
}

const sound = (name: string, type: string, encoder: string, ...args: readonly string[]): Kind => ({
  ...{ name, modality: "audio", type, skip: lacksEncoder(encoder) },
  make: () => makeMedia(name, ...tone, "-c:a", encoder, ...args),
});
const video = (name: string, type: string, encoder: string, ...args: readonly string[]): Kind => ({
  ...{ name, modality: "video", type, skip: lacksEncoder(encoder) },
  make: () => makeMedia(name, ...threeColours, "-c:v", encoder, ...args),
});

const gif = () => makeMedia("colours.gif", ...threeColours, "-r", "5");

const kinds: readonly Kind[] = [
  sound("tone.wav", "audio/wav", "pcm_s16le"),
  sound("tone.mp3", "audio/mpeg", "libmp3lame"),
  sound("tone.flac", "audio/flac", "flac"),
  sound("tone.ogg", "audio/ogg", "libopus"),
  sound("tone.m4a", "audio/mp4", "aac"),
  sound("tone.webm", "audio/webm", "libopus"),
  video("h264.mp4", "video/mp4", "libx264", "-pix_fmt", "yuv420p"),
  video("vp9.webm", "video/webm", "libvpx-vp9", "-deadline", "realtime"),
  video("film.mov", "video/quicktime", "mpeg4"),
  { name: "colours.gif", modality: "video", type: "image/gif", skip: lacksEncoder("gif"), make: gif },
  {
    ...{ name: "colours.webp", modality: "video", type: "image/webp", skip: lacksEncoder("gif") },
    make: () => sharp(gif(), { animated: true }).webp().toBuffer(),
  },
];

const adapters: Readonly<Record<Modality, string>> = { image: "pictures", audio: "sounds", video: "clips" };

describe("a service with a model for images, audio and videos", () => {
  for (const { name, modality, type, skip, make } of kinds) {
    it(`answers about ${name} like the library`, { skip }, async () => {
      const bytes = await make();
      const brief = { maxNewTokens: 6, beams: 1 };
      const fields = { max_tokens: "6", beams: "1" };
      const [caption, answer] = [await model.caption(bytes, brief), await model.vqa(bytes, "what is it?", brief)];
      const file = form(undefined, fields);
      file.append(modality, new Blob([new Uint8Array(bytes)], { type }), name);
      const captioned = textAnswer.parse(await (await postForm(url("/caption"), file)).json());
      const json = {
        media: `data:${type};base64,${bytes.toString("base64")}`,
        question: "what is it?",
        max_tokens: 6,
        beams: 1,
      };
      const asked = textAnswer.parse(await (await postJson(url("/vqa"), json)).json());
      const streamed = form(undefined, { ...fields, question: "what is it?", stream: "true" });
      streamed.append("media", new Blob([new Uint8Array(bytes)]), name);
      const events = await eventsIn(await postForm(url("/vqa"), streamed));
      const last = textAnswer.parse(events.at(-1)?.data);
      const pieces = events.slice(0, -1).map(({ data }) => (data as { text: string }).text);
      assert.equal(pieces.join(""), answer.text);
      for (const [got, expected] of [
        [captioned, caption],
        [asked, answer],
        [last, answer],
      ] as const) {
        assert.equal(got.text, expected.text);
        assert.equal(got.texts[0]?.score, expected.texts[0]?.score);
        assert.deepEqual([got.modality, got.adapter], [modality, adapters[modality]]);
        assert.deepEqual([expected.modality, expected.adapter], [modality, adapters[modality]]);
        assert.equal(got.usage.completion_tokens, expected.usage.newTokens);
      }
    });
  }

  it("ranks answers and answers several questions about audio", async () => {
    const wav = makeMedia("tone.wav", ...tone);
    const body = { audio: wav.toString("base64"), question: "high?", candidates: ["yes", "no"] };
    const ranked = textAnswer.parse(await (await postJson(url("/vqa"), body)).json());
    const expected = await model.rank(wav, "high?", ["yes", "no"]);
    assert.deepEqual(
      ranked.texts.map(({ text, score }) => [text, score]),
      expected.answers.map(({ text, score }) => [text, score]),
    );
    const list = await postJson(url("/vqa"), { audio: body.audio, question: ["high?", "loud?"] });
    assert.equal(((await list.json()) as { answers: unknown[] }).answers.length, 2);
  });

  it("interprets the field media as the modality of the named adapter", async () => {
    const animated = gif();
    const ask = async (fields: object) => {
      const response = await postJson(url("/caption"), { media: animated.toString("base64"), ...fields });
      return textAnswer.parse(await response.json());
    };
    assert.equal((await ask({})).modality, "video");
    const still = await ask({ adapter: "pictures", max_tokens: 5 });
    const expected = await model.caption(animated, { adapter: "pictures", maxNewTokens: 5 });
    assert.deepEqual(
      [still.modality, still.text, still.texts[0]?.score],
      ["image", expected.text, expected.texts[0]?.score],
    );
  });

  it("lists the modalities of its models and their adapters", async () => {
    const { data } = modelList.parse(await (await fetch(url("/v1/models"))).json());
    assert.deepEqual(data[0]?.epalm.modalities, ["image", "audio", "video"]);
    assert.deepEqual(
      data[0]?.epalm.adapters.map(({ name, modality }) => [name, modality]),
      [
        ["sounds", "audio"],
        ["clips", "video"],
        ["pictures", "image"],
      ],
    );
    // The adapters follow their model, under the names that force them.
    const modalities = data.slice(1, 5).map(({ epalm }) => epalm.modalities);
    assert.deepEqual(modalities, [["audio"], ["video"], ["image"], ["image"]]);
  });

  it("names the invalid field", async () => {
    const wav = makeMedia("tone.wav", ...tone).toString("base64");
    const clip = makeMedia("film.mov", ...threeColours, "-c:v", "mpeg4").toString("base64");
    const png = (await picture()).toString("base64");
    const text = Buffer.from("no medium at all").toString("base64");
    const cases: readonly (readonly [object, number, string, RegExp])[] = [
      [{ model: "tiny", audio: wav }, 400, "audio", /^audio: model 'tiny' accepts image, not audio$/],
      [{ model: "tiny", video: clip }, 400, "video", /^video: model 'tiny' accepts image, not video$/],
      [{ model: "tiny", media: wav }, 415, "media", /^media: expected/],
      [{ audio: text }, 415, "audio", /^audio: expected audio or video .* got other bytes$/],
      [{ video: text }, 415, "video", /^video: expected/],
      [{ media: text }, 415, "media", /^media: expected image or audio or video, got other bytes$/],
      [{ audio: png }, 415, "audio", /^audio: expected/],
      [{ image: wav }, 415, "image", /^image: expected/],
      [{ audio: clip }, 422, "audio", /^audio: has no audio track$/],
      [{ video: wav }, 422, "video", /^video: has no video track$/],
      [{ audio: wav.slice(0, 40) }, 422, "audio", /^audio: cannot be decoded/],
      [
        { image: png, adapter: "sounds" },
        400,
        "adapter",
        /^adapter: 'sounds': expected one for image, got one for audio$/,
      ],
      [{ video: clip, adapter: "pictures" }, 400, "adapter", /expected one for video, got one for image$/],
      [{ media: clip, adapter: "nobody" }, 404, "adapter", /^adapter: 'nobody': expected one of/],
      [{ media: wav, adapter: "clips" }, 422, "media", /^media: has no video track$/],
      [{}, 400, "media", /^media: expected one medium \(media, image, audio, video\), got none$/],
      [{ audio: wav, media: wav }, 400, "media", /got media and audio$/],
      [{ audio: "!" }, 400, "audio", /^audio: expected base64/],
      [{ video: "https://127.0.0.1/film.mp4" }, 400, "video", /URLs are disabled/],
      [{ audio: "file:///etc/passwd" }, 400, "audio", /^audio: expected base64/],
    ];
    for (const [body, status, field, detail] of cases) {
      const problem = await problemIn(await postJson(url("/caption"), body), status);
      assert.equal(problem.field, field, problem.detail);
      assert.match(problem.detail, detail);
    }
    const file = form(undefined, { adapter: "clips" });
    file.append("audio", new Blob([new Uint8Array(Buffer.from(wav, "base64"))]), "tone.wav");
    assert.equal((await problemIn(await postForm(url("/caption"), file), 400)).field, "adapter");
  });
});

describe("limits of videos", () => {
  it("can be set in seconds and in pixels, and appear in errors", async () => {
    const clip = makeMedia("film.mov", ...threeColours, "-c:v", "mpeg4").toString("base64");
    for (const [limits, detail] of [
      [{ videoSeconds: 2 }, /^video: expected at most 2 seconds, got 3$/],
      [{ videoPixels: 3000 }, /^video: .*3000 pixels/],
    ] as const) {
      const own = await startServer({ models: { all: folder }, logLevel: "silent", limits });
      const problem = await problemIn(await postJson(`${own.url}/caption`, { video: clip }), 413);
      assert.equal(problem.field, "video");
      assert.match(problem.detail, detail);
      // Audio has no limit of its duration, because only its beginning is decoded.
      const long = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000:duration=30"];
      const wav = makeMedia("long.wav", ...long);
      const body = { audio: wav.toString("base64"), max_tokens: 2 };
      assert.equal((await postJson(`${own.url}/caption`, body)).status, 200);
      await own.stop();
    }
  });
});
