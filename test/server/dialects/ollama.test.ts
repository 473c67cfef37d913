import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { Ollama } from "ollama";
import type { Model } from "../../../src/index.js";
import {
  ollamaChatAnswer,
  ollamaError,
  ollamaGenerateAnswer,
  ollamaRunning,
  ollamaShow,
  ollamaTags,
  ollamaVersion,
} from "../../../src/server/dialects/ollama-schema.js";
import { buildAllSensesModel } from "../../support/all-modalities-model.js";
import { postJson, type Running, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

let running: Running;
let model: Model;
let senses: Model;
let png: Buffer;
let image: string;
before(async () => {
  const models = { tiny: await buildTinyModel(), all: await buildAllSensesModel() };
  const german = { captionPrompts: ["beschreib* *"] };
  running = await startServer({ models, chat: { all: german }, logLevel: "silent" });
  [model, senses] = [running.models.get("tiny").model, running.models.get("all").model];
  png = await picture();
  image = png.toString("base64");
});

const maxNewTokens = 6;
const options = { num_predict: maxNewTokens };

function post(path: string, body: object): Promise<Response> {
  return postJson(`${running.url}/api/${path}`, body);
}

async function generate(body: object) {
  const response = await post("generate", { model: "tiny", images: [image], options, stream: false, ...body });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return ollamaGenerateAnswer.parse(JSON.parse(text));
}

async function refusal(response: Response, status: number): Promise<string> {
  assert.equal(response.status, status);
  assert.match(response.headers.get("content-type") ?? "", /^application\/json/);
  return ollamaError.parse(await response.json()).error;
}

describe("the API of Ollama", () => {
  it("answers the request that PhotoPrism sends for a caption", async () => {
    const answer = await generate({
      id: "b2b3e4f0-0000-4000-8000-000000000000",
      model: "tiny:latest",
      suffix: "",
      system: "You are a vision model that describes pictures.",
      prompt:
        "Create a caption with exactly one sentence in the active voice that describes the main visual content. " +
        "Begin with the subject and clear action. Avoid text formatting, meta-language, and filler words.",
      options: {
        num_predict: maxNewTokens,
        temperature: 0.1,
        top_p: 0.9,
        num_ctx: 4096,
        repeat_penalty: 1.1,
        stop: ["\n\n"],
      },
    });
    const expected = await model.caption(png, {
      ...{ maxNewTokens, temperature: 0.1, topP: 0.9, repetitionPenalty: 1.1, stop: ["\n\n"] },
    });
    assert.equal(answer.response, expected.text);
    assert.deepEqual([answer.done, answer.epalm?.task, answer.epalm?.adapter], [true, "caption", "words"]);
    assert.deepEqual(answer.epalm?.ignored, ["id", "system", "options.num_ctx"]);
    assert.equal(answer.eval_count, expected.usage.newTokens);
  });

  it("answers with penalties, and with the most probable tokens", async () => {
    const answer = await generate({
      ...{ prompt: "What is it?", logprobs: true, top_logprobs: 2 },
      options: { num_predict: maxNewTokens, min_p: 0.2, temperature: 1, seed: 4, presence_penalty: 2 },
    });
    const expected = await model.vqa(png, "What is it?", {
      ...{ maxNewTokens, minP: 0.2, temperature: 1, seed: 4, presencePenalty: 2, topLogprobs: 2 },
    });
    assert.equal(answer.response, expected.text);
    assert.deepEqual(
      answer.logprobs?.map(({ logprob, top_logprobs }) => [logprob, ...top_logprobs.map(({ token }) => token)]),
      expected.texts[0]?.tokens.map((_, at) => [
        expected.texts[0]?.logProbs[at],
        ...(expected.texts[0]?.topLogprobs?.[at] ?? []).map(({ piece }) => piece),
      ]),
    );
    const refused = await post("generate", { prompt: "x", images: [image], top_logprobs: 2 });
    assert.match(await refusal(refused, 400), /^top_logprobs: requires logprobs: true/);
  });

  it("answers with JSON that contains the text, as `format` requests", async () => {
    const { text } = await model.caption(png, { maxNewTokens });
    const string = { type: "string" };
    const formats: readonly (readonly [unknown, unknown])[] = [
      ["json", { caption: text }],
      ["", undefined],
      [string, text],
      [{ type: "object", properties: { description: string }, required: ["description"] }, { description: text }],
      [{ properties: { tags: { type: "array", items: string } } }, { tags: [text] }],
      [{ properties: { other: string, title: string }, required: ["title"] }, { title: text }],
    ];
    for (const [format, expected] of formats) {
      const { response } = await generate({ prompt: "Describe the image.", format });
      assert.deepEqual(expected === undefined ? response : JSON.parse(response), expected ?? text);
    }
    const { response } = await generate({ prompt: "What is it?", format: "json" });
    assert.deepEqual(Object.keys(JSON.parse(response)), ["answer"]);
    const score = { type: "object", properties: { a: string, b: { type: "number" } }, required: ["a", "b"] };
    const document = JSON.parse((await generate({ prompt: "x", format: score })).response);
    assert.deepEqual([typeof document.a, typeof document.b], ["string", "number"]);
    const refused = await post("generate", {
      prompt: "x",
      images: [image],
      format: { properties: { a: { not: string } }, required: ["a"] },
    });
    assert.match(await refusal(refused, 400), /^format: at '#\/properties\/a': not is not supported/);
  });

  it("streams lines of JSON unless the request says otherwise", async () => {
    const body = { model: "tiny", options: { num_predict: 20, temperature: 0.5 } };
    const messages = [{ role: "user", content: "what?", images: [image] }];
    for (const [path, request] of [
      ["generate", { prompt: "what?", images: [image] }],
      ["chat", { messages }],
    ] as const) {
      const response = await post(path, { ...body, ...request });
      assert.equal(response.headers.get("content-type"), "application/x-ndjson");
      const lines = (await response.text())
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown);
      const texts = lines.map((line) =>
        path === "chat" ? ollamaChatAnswer.parse(line).message.content : ollamaGenerateAnswer.parse(line).response,
      );
      const expected = await model.vqa(png, "what?", { maxNewTokens: 20, temperature: 0.5 });
      assert.equal(texts.join(""), expected.text);
      assert.ok(lines.length > 4, `${lines.length} lines`);
      assert.equal((lines.at(-1) as { done: boolean }).done, true);
    }
  });

  it("takes several images as the frames of a clip, or rejects them", async () => {
    const frames = await Promise.all([3, 50].map((seed) => picture(seed)));
    const images = frames.map((frame) => frame.toString("base64"));
    const { response, epalm } = await generate({ model: "all", prompt: "what moves?", images });
    const expected = await senses.vqa({ frames }, "what moves?", { maxNewTokens });
    assert.deepEqual([response, epalm?.adapter], [expected.text, "clips"]);
    const refused = await post("generate", { model: "tiny", prompt: "what moves?", images });
    assert.match(await refusal(refused, 400), /^images: expected one image, got 2/);
  });

  it("uses the patterns of the config in place of the table", async () => {
    assert.equal((await generate({ model: "all", prompt: "Beschreibe das Bild!" })).epalm?.task, "caption");
    assert.equal((await generate({ model: "all", prompt: "Describe the image." })).epalm?.task, "vqa");
    assert.equal((await generate({ model: "tiny", prompt: "Beschreibe das Bild!" })).epalm?.task, "vqa");
  });

  it("accepts values that mean no limit, and JSON with the type of forms, as curl sends it", async () => {
    const unlimited = { num_predict: -1, top_k: 0, top_p: 1, seed: -1, temperature: 0 };
    const { text } = await model.caption(png);
    assert.equal((await generate({ prompt: "Caption:", options: unlimited })).response, text);
    const response = await fetch(`${running.url}/api/generate`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: JSON.stringify({ model: "tiny", prompt: "Caption:", images: [image], stream: false }),
    });
    assert.equal(ollamaGenerateAnswer.parse(await response.json()).response, text);
  });

  it("loads nothing for a request without a prompt, and says so", async () => {
    const { done_reason, response } = await generate({ images: [], prompt: "" });
    assert.deepEqual([done_reason, response], ["load", ""]);
    const chat = await post("chat", { model: "tiny", messages: [], stream: false });
    assert.equal(ollamaChatAnswer.parse(await chat.json()).done_reason, "load");
  });

  it("describes the models to the ollama client", async () => {
    const client = new Ollama({ host: running.url });
    const { models } = ollamaTags.parse(await client.list());
    const names = ["tiny", "tiny/words", "tiny/answers", "all"];
    assert.deepEqual(
      models.slice(0, 4).map(({ name }) => name),
      names,
    );
    assert.equal(ollamaRunning.parse(await client.ps()).models.length, models.length);
    const shown = ollamaShow.parse(await client.show({ model: "all/sounds" }));
    assert.deepEqual([shown.capabilities, shown.model_info["epalm.modalities"]], [["completion"], ["audio"]]);
    assert.deepEqual((await client.show({ model: "tiny:latest" })).capabilities, ["completion", "vision"]);
    assert.deepEqual(ollamaVersion.parse(await client.version()), { version: "0.0.0" });
  });

  it("says which calls and values it does not support", async () => {
    const client = new Ollama({ host: running.url });
    await assert.rejects(client.embed({ model: "tiny", input: "a" }), /does not support \/api\/embed: the models/);
    await assert.rejects(client.pull({ model: "x" }), /does not support \/api\/pull/);
    await assert.rejects(client.delete({ model: "x" }), /does not support \/api\/delete/);
    const base = { prompt: "what?", images: [image] };
    const cases: readonly (readonly [string, object, number, RegExp])[] = [
      ["generate", { ...base, model: "nope" }, 404, /^model: expected one of tiny, all, got 'nope'/],
      ["generate", { ...base, model: "tiny/nope" }, 404, /^model: expected an adapter among words, answers/],
      ["generate", { ...base, images: ["%%%"] }, 400, /^images\[0\]: expected base64/],
      ["generate", { ...base, images: ["AAAA"] }, 415, /^images\[0\]: expected an image/],
      ["generate", { ...base, images: "x" }, 400, /^images: expected a list/],
      ["generate", { prompt: "what?" }, 400, /^images: expected an image/],
      [
        "generate",
        { ...base, options: { temperature: 5 } },
        400,
        /^options\.temperature: expected a number from 0 to 2/,
      ],
      ["generate", { ...base, options: { stop: ["x".repeat(200)] } }, 400, /^options\.stop: expected at most/],
      ["generate", { ...base, prompt: "x".repeat(3000) }, 413, /^prompt: expected at most 2000 characters/],
      ["generate", { model: "tiny/answers", images: [image] }, 400, /^images\[0\]: expected a text beside the medium/],
      ["chat", { messages: [{ role: "user", content: "what?" }] }, 400, /^messages: expected an image/],
      ["chat", { messages: [{ role: "user", images: [image] }], tools: [{}] }, 400, /^tools: expected no tools/],
      ["show", {}, 400, /^model: expected the name of a model/],
    ];
    for (const [path, body, status, message] of cases) {
      assert.match(await refusal(await post(path, body), status), message);
    }
    assert.match(await refusal(await fetch(`${running.url}/api/nope`), 404), /this path does not exist/);
  });
});
