import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import OpenAI from "openai";
import type { ChatCompletionContentPart } from "openai/resources/chat/completions";
import type { Model } from "../../src/index.js";
import { chatChunk, chatCompletion } from "../../src/server/dialects/openai-schema.js";
import { modelList, problem } from "../../src/wire.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";
import { makeMedia, threeColours, tone } from "../support/make-media.js";
import { postJson, problemIn, type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

const KEY = "a-key-of-the-chat-tests";

let client: OpenAI;
let stranger: OpenAI;
let model: Model;
let png: Buffer;
before(async () => {
  const running = await startServer({
    models: { tiny: await buildTinyModel() },
    keys: { tests: KEY },
    logLevel: "silent",
  });
  model = running.models.get(undefined).model;
  const options = { baseURL: `${running.url}/v1`, maxRetries: 0 };
  client = new OpenAI({ ...options, apiKey: KEY });
  stranger = new OpenAI({ ...options, apiKey: "another-key-that-is-not-known" });
  png = await picture();
});

function image(): ChatCompletionContentPart {
  return { type: "image_url", image_url: { url: `data:image/png;base64,${png.toString("base64")}` } };
}

function asking(text: string, ...more: ChatCompletionContentPart[]) {
  return [{ role: "user" as const, content: [image(), { type: "text" as const, text }, ...more] }];
}

describe("the openai client", () => {
  it("gets an answer to a question", async () => {
    const completion = await client.chat.completions.create({
      model: "tiny",
      messages: asking("what is it?"),
      max_tokens: 8,
    });
    const expected = await model.vqa(png, "what is it?", { maxNewTokens: 8 });
    assert.equal(completion.choices[0]?.message.content, expected.text);
    assert.equal(completion.choices[0]?.finish_reason, "length");
    assert.deepEqual(completion.usage, {
      prompt_tokens: expected.usage.promptTokens,
      completion_tokens: 8,
      total_tokens: expected.usage.promptTokens + 8,
    });
  });

  it("gets a caption without a question, several texts, and log-probabilities", async () => {
    const completion = await client.chat.completions.create({
      model: "tiny",
      messages: [{ role: "user", content: [image()] }],
      max_completion_tokens: 5,
      temperature: 1,
      top_p: 1,
      seed: 4,
      n: 2,
      logprobs: true,
    });
    const options = { temperature: 1, seed: 4, numReturnSequences: 2, maxNewTokens: 5 };
    const expected = await model.caption(png, options);
    assert.deepEqual(
      completion.choices.map(({ message }) => message.content),
      expected.texts.map(({ text }) => text),
    );
    assert.equal(completion.choices[0]?.logprobs?.content?.length, expected.texts[0]?.tokens.length);
  });

  it("gets texts with penalties and biases, and the most probable tokens", async () => {
    const plain = await model.vqa(png, "what is it?", { maxNewTokens: 8, beams: 1 });
    const [often = 0] = plain.texts[0]?.tokens ?? [];
    const completion = await client.chat.completions.create({
      ...{ model: "tiny", messages: asking("what is it?"), max_tokens: 8, temperature: 0 },
      ...{ frequency_penalty: 1.5, presence_penalty: -0.5, logit_bias: { [often]: -100 } },
      ...{ logprobs: true, top_logprobs: 3 },
    });
    const expected = await model.vqa(png, "what is it?", {
      ...{ maxNewTokens: 8, frequencyPenalty: 1.5, presencePenalty: -0.5, logitBias: { [often]: -100 } },
      topLogprobs: 3,
    });
    const [choice] = completion.choices;
    const [text] = expected.texts;
    assert.equal(choice?.message.content, expected.text);
    assert.ok(!text?.tokens.includes(often));
    const content = choice?.logprobs?.content ?? [];
    assert.equal(content.length, text?.tokens.length);
    for (const [at, { top_logprobs }] of content.entries()) {
      assert.deepEqual(
        top_logprobs.map(({ token, logprob }) => [token, logprob]),
        text?.topLogprobs?.[at]?.map(({ piece, logProb }) => [piece, logProb]),
      );
      const logprobs = top_logprobs.map(({ logprob }) => logprob);
      assert.deepEqual(
        logprobs.toSorted((a, b) => b - a),
        logprobs,
      );
      assert.deepEqual(Buffer.from(top_logprobs[0]?.bytes ?? []).toString(), top_logprobs[0]?.token);
    }
  });

  it("gets a stream", async () => {
    const stream = await client.chat.completions.create({
      model: "tiny",
      messages: asking("what?"),
      max_tokens: 20,
      temperature: 0.5,
      stream: true,
      stream_options: { include_usage: true },
    });
    let [text, chunks, finish, tokens] = ["", 0, "", 0];
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      tokens = chunk.usage?.completion_tokens ?? tokens;
      chunks++;
    }
    const expected = await model.vqa(png, "what?", { temperature: 0.5, maxNewTokens: 20 });
    assert.equal(text, expected.text);
    assert.ok(chunks > 4, `${chunks} chunks`);
    assert.deepEqual([finish, tokens], ["length", expected.usage.newTokens]);
  });

  it("gets the list of models", async () => {
    const { data } = await client.models.list();
    assert.deepEqual(
      data.map(({ id, owned_by }) => [id, owned_by]),
      ["tiny", "tiny/words", "tiny/answers"].map((id) => [id, "epalm"]),
    );
  });

  it("gets documents that match a schema, whole, as a stream and several at once", async () => {
    const schema = {
      type: "object",
      properties: { a: { const: null }, b: { enum: ["red", "blue"] } },
      required: ["a", "b"],
    };
    const request = {
      model: "tiny",
      messages: asking("what is it?"),
      response_format: { type: "json_schema" as const, json_schema: { name: "thing", strict: true, schema } },
    };
    const expectDocument = (text: string) => assert.match(text, /^\{"a": ?null, ?"b": ?"(red|blue)"\}$/);
    for (const change of [{}, { max_tokens: 1 }, { temperature: 2, n: 3 }, { beams: 3, n: 2 }]) {
      const { choices } = await client.chat.completions.create({ ...request, ...change });
      for (const { message } of choices) expectDocument(message.content ?? "");
    }
    const stream = await client.chat.completions.create({ ...request, max_tokens: 5, temperature: 1, stream: true });
    let text = "";
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? "";
    expectDocument(text);
    const any = await client.chat.completions.create({
      ...{ ...request, max_tokens: 8 },
      response_format: { type: "json_object" },
    });
    assert.ok(JSON.parse(any.choices[0]?.message.content ?? "") !== null);
    const vllm = { ...request, response_format: undefined, structured_outputs: { choice: ["yes", "no"] } };
    const chosen = await client.chat.completions.create(vllm as unknown as typeof request);
    assert.match(chosen.choices[0]?.message.content ?? "", /^(yes|no)$/);
  });

  it("gets an error for unsupported requests", async () => {
    const base = { model: "tiny", messages: asking("what?") };
    const cases: [object, number, RegExp][] = [
      [{ messages: asking("what?", image()) }, 400, /messages\[0\]\.content: expected one image, got 2/],
      [{ messages: [{ role: "user", content: "no picture" }] }, 400, /got none/],
      [
        { messages: [{ role: "user", content: [{ type: "text", text: 5 }] }] },
        400,
        /messages\[0\]\.content\[0\]\.text/,
      ],
      [{ messages: [{ role: "nobody", content: "x" }, ...base.messages] }, 400, /messages\[0\]\.role/],
      [{ model: "gpt-4" }, 404, /model: expected one of tiny/],
      [{ model: "tiny/none" }, 404, /model: expected an adapter among words, answers/],
      [{ tools: [{ type: "function" }] }, 400, /tools: expected no tools/],
      [{ tool_choice: "required" }, 400, /tool_choice: expected no call/],
      [{ logit_bias: { 5: 101 } }, 400, /logit_bias\.5: /],
      [{ logit_bias: { 99999: 1 } }, 400, /logit_bias: expected token ids below \d+ and strings with tokens/],
      [{ top_logprobs: 2 }, 400, /top_logprobs: requires logprobs: true/],
      [{ logprobs: true, top_logprobs: 21 }, 400, /top_logprobs: /],
      [{ response_format: { type: "yaml" } }, 400, /response_format\.type: /],
      [{ response_format: { type: "json_schema", json_schema: {} } }, 400, /response_format\.json_schema\.schema: /],
      [
        { response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } },
        400,
        /response_format\.json_schema\.schema: at '#': not is not supported/,
      ],
      [{ response_format: { type: "json_object" }, guided_json: {} }, 400, /response_format: cannot be combined/],
      [{ structured_outputs: { regex: "(" } }, 400, /structured_outputs\.regex: in the regular expression/],
      [{ guided_choice: [] }, 400, /guided_choice: expected at least one string/],
      [{ modalities: ["text", "audio"] }, 400, /modalities\[1\]: /],
      [{ presence_penalty: 2.5 }, 400, /presence_penalty: /],
      [{ web_search_options: {} }, 400, /web_search_options: is not a known key/],
      [{ n: 0 }, 400, /n: /],
      [
        {
          messages: [{ role: "user", content: [{ type: "input_audio", input_audio: { data: "AA", format: "wav" } }] }],
        },
        400,
        /accepts image, not audio/,
      ],
    ];
    for (const [change, status, message] of cases) {
      const request = { ...base, ...change } as Parameters<typeof client.chat.completions.create>[0];
      await assert.rejects(client.chat.completions.create(request), (error: unknown) => {
        assert.ok(error instanceof OpenAI.APIError);
        assert.equal(error.status, status, String(message));
        assert.match(JSON.stringify(error.error ?? error.message), message);
        return true;
      });
    }
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  });
});

function dataUrl(type: string, bytes: Buffer): string {
  return `data:${type};base64,${bytes.toString("base64")}`;
}

describe("a chat request", () => {
  const ask = async (change: object) => {
    const request = { model: "tiny", messages: asking("Describe the image."), max_tokens: 4, ...change };
    const completion = await client.chat.completions.create(
      request as Parameters<typeof client.chat.completions.create>[0],
    );
    return chatCompletion.parse(completion);
  };

  it("may have keys whose values request nothing", async () => {
    const plain = await ask({});
    const { choices, epalm } = await ask({
      ...{
        tools: [],
        tool_choice: "none",
        functions: [],
        logit_bias: {},
        min_p: 0,
        modalities: ["text"],
        n: 1,
        logprobs: false,
      },
      ...{ frequency_penalty: 0, presence_penalty: 0, response_format: { type: "text" }, parallel_tool_calls: true },
      ...{ store: true, metadata: { a: "b" }, user: "someone", service_tier: "auto", reasoning_effort: "low" },
    });
    assert.deepEqual(choices, plain.choices);
    assert.deepEqual(epalm, {
      task: "caption",
      adapter: "words",
      ignored: ["metadata", "parallel_tool_calls", "reasoning_effort", "service_tier", "store", "user"],
    });
  });

  it("may set options that have no effect, which are reported", async () => {
    const { epalm, usage } = await ask({ seed: 3, top_p: 0.5, max_tokens: 1_000_000 });
    assert.deepEqual(epalm.ignored, ["top_p", "seed", "max_tokens"]);
    assert.ok(usage.completion_tokens <= 32);
  });

  it("forces the adapter that the name of the model contains", async () => {
    const words = await ask({ model: "tiny/words", messages: asking("What colour is it?") });
    const caption = await model.caption(png, { maxNewTokens: 4 });
    assert.deepEqual([words.choices[0]?.message.content, words.epalm.task], [caption.text, "caption"]);
    assert.deepEqual(words.epalm.ignored, ["messages[0]"]);
    const answers = await ask({ model: "tiny/answers" });
    assert.deepEqual([answers.epalm.task, answers.epalm.adapter], ["vqa", "answers"]);
    for (const id of ["tiny", "tiny/words"]) assert.equal((await client.models.retrieve(id)).id, id);
    await assert.rejects(client.models.retrieve("tiny/none"), OpenAI.NotFoundError);
  });

  it("is interpreted by the patterns of the manifest", async () => {
    const folder = await buildTinyModel();
    const path = join(folder, "epalm.json");
    const chat = { captionPrompts: ["{default}", "beschreib* *"] };
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), chat }));
    const { url } = await startServer({ models: { german: folder }, logLevel: "silent" });
    const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
    const tasks = ["Beschreibe das Bild.", "Describe the image.", "Welche Farbe?"].map(async (text) => {
      const request = { model: "german", messages: asking(text), max_tokens: 2 };
      return chatCompletion.parse(await openai.chat.completions.create(request)).epalm.task;
    });
    assert.deepEqual(await Promise.all(tasks), ["caption", "caption", "vqa"]);
  });

  it("reports what was done in the last chunk of a stream", async () => {
    for (const include_usage of [true, false]) {
      const stream = await client.chat.completions.create({
        ...{ model: "tiny", messages: asking("What colour is it?"), max_tokens: 4 },
        ...{ stream: true, stream_options: { include_usage } },
      });
      const chunks = [];
      for await (const chunk of stream) chunks.push(chatChunk.parse(chunk));
      assert.deepEqual(chunks.map(({ epalm }) => epalm?.task).filter(Boolean), ["vqa"]);
      assert.equal(chunks.at(-1)?.epalm?.adapter, "answers");
    }
  });
});

describe("audio and videos in a chat", () => {
  let running: Running;
  let senses: Model;
  let openai: OpenAI;
  before(async () => {
    running = await startServer({ models: { all: await buildAllSensesModel() }, logLevel: "silent" });
    senses = running.models.get(undefined).model;
    openai = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: "none", maxRetries: 0 });
  });

  const wav = makeMedia("tone.wav", ...tone);
  const sound: ChatCompletionContentPart = {
    type: "input_audio",
    input_audio: { data: wav.toString("base64"), format: "wav" },
  };
  const clip = makeMedia("film.mov", ...threeColours, "-c:v", "mpeg4");
  const film = {
    type: "video_url",
    video_url: { url: `data:video/quicktime;base64,${clip.toString("base64")}` },
  };

  it("are accepted from the openai client as input_audio, with and without a question or a stream", async () => {
    const messages = [{ role: "user" as const, content: [{ type: "text" as const, text: "high?" }, sound] }];
    const completion = await openai.chat.completions.create({ model: "all", messages, max_tokens: 6 });
    const expected = await senses.vqa(wav, "high?", { maxNewTokens: 6 });
    assert.equal(expected.modality, "audio");
    assert.equal(completion.choices[0]?.message.content, expected.text);
    const stream = await openai.chat.completions.create({
      ...{ model: "all", max_tokens: 6, stream: true },
      messages: [{ role: "user", content: [sound] }],
    });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    assert.equal(text, (await senses.caption(wav, { maxNewTokens: 6 })).text);
  });

  it("are accepted as video_url", async () => {
    const ask = (content: readonly object[], more: object = {}) =>
      postJson(`${running.url}/v1/chat/completions`, {
        ...{ model: "all", max_tokens: 6, messages: [{ role: "user", content }] },
        ...more,
      });
    const question = { type: "text", text: "what moves?" };
    const response = await ask([film, question]);
    assert.equal(response.status, 200);
    const { choices } = (await response.json()) as OpenAI.ChatCompletion;
    const expected = await senses.vqa(clip, "what moves?", { maxNewTokens: 6 });
    assert.deepEqual([expected.modality, choices[0]?.message.content], ["video", expected.text]);
    const wrong: readonly (readonly [Promise<Response>, number, RegExp])[] = [
      [ask([film], { adapter: "sounds" }), 400, /expected one for video, got one for audio/],
      [
        ask([{ ...film, video_url: { url: "data:video/mp4;base64,AAAA" } }]),
        415,
        /^messages\[0\]\.content\[0\]\.video_url\.url: expected/,
      ],
      [
        ask([{ ...sound, input_audio: { data: "AAAA" } }]),
        415,
        /^messages\[0\]\.content\[0\]\.input_audio\.data: expected/,
      ],
    ];
    for (const [asking, status, detail] of wrong) {
      const refused = await asking;
      assert.equal(refused.status, status);
      assert.match(problem.parse(await refused.json()).error?.message ?? "", detail);
    }
  });

  const report = async (content: readonly object[], more: object = {}) => {
    const messages = [{ role: "user", content }];
    const response = await postJson(`${running.url}/v1/chat/completions`, { max_tokens: 6, messages, ...more });
    const { choices, epalm } = chatCompletion.parse(await response.json());
    return { text: choices[0]?.message.content, ...epalm };
  };

  it("give way to the newest medium, and the others are reported", async () => {
    const { text, adapter, ignored } = await report([film, sound]);
    assert.equal(text, (await senses.caption(wav, { maxNewTokens: 6 })).text);
    assert.deepEqual([adapter, ignored], ["sounds", ["messages[0].content[0]"]]);
  });

  it("are accepted as audio_url, input_image, URLs alone and files", async () => {
    const png = dataUrl("image/png", await picture());
    const cases: readonly (readonly [object, string])[] = [
      [{ type: "audio_url", audio_url: { url: dataUrl("audio/wav", wav) } }, "sounds"],
      [{ type: "audio_url", audio_url: dataUrl("audio/wav", wav) }, "sounds"],
      [{ type: "input_image", image_url: png, detail: "high" }, "pictures"],
      [{ type: "image_url", image_url: { url: png, detail: "anything" } }, "pictures"],
      [{ type: "file", file: { file_data: dataUrl("video/quicktime", clip), filename: "a.mov" } }, "clips"],
    ];
    for (const [part, adapter] of cases) {
      const given = await report([part]);
      assert.deepEqual([given.task, given.adapter], ["caption", adapter]);
    }
  });

  it("are made of several images, which are the frames of a clip", async () => {
    const frames = await Promise.all([3, 50, 7].map((seed) => picture(seed)));
    const parts = frames.map((frame) => ({ type: "image_url", image_url: { url: dataUrl("image/png", frame) } }));
    const { text, adapter } = await report([{ type: "text", text: "what moves?" }, ...parts]);
    const expected = await senses.vqa({ frames }, "what moves?", { maxNewTokens: 6 });
    assert.deepEqual([text, adapter, expected.modality], [expected.text, "clips", "video"]);
    const damaged = [...parts.slice(0, 1), { type: "image_url", image_url: "data:image/png;base64,AAAA" }];
    const response = await postJson(`${running.url}/v1/chat/completions`, {
      messages: [{ role: "user", content: damaged }],
    });
    assert.equal((await problemIn(response, 415)).field, "messages[0].content[1].image_url");
  });

  it("appear in the list of models", async () => {
    const list = modelList.parse(await (await fetch(`${running.url}/v1/models`)).json());
    assert.deepEqual(list.data[0]?.epalm.modalities, ["image", "audio", "video"]);
  });
});
