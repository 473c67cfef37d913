import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import OpenAI from "openai";
import type { ChatCompletion, ChatCompletionMessageParam } from "openai/resources/chat/completions";
import type { Model } from "../../src/index.js";
import { form, postForm, postJson, problemIn, type Running, startServer } from "../support/running-server.js";
import { temporaryFolder } from "../support/tiny-model.js";
import { buildTinyVlm, VLM_PHOTO } from "../support/tiny-vlm.js";

const png = readFileSync(VLM_PHOTO);
const url = `data:image/png;base64,${png.toString("base64")}`;
const image = { type: "image_url", image_url: { url } } as const;

let running: Running;
let model: Model;
let client: OpenAI;
before(async () => {
  const folder = temporaryFolder();
  const names = ["smolvlm", "nanovlm", "llava-full-mistral", "llava-siglip-qwen2"];
  for (const name of names) await buildTinyVlm(name, join(folder, name));
  const models = Object.fromEntries(names.map((name) => [name, join(folder, name)]));
  running = await startServer({ models, logLevel: "silent" });
  model = running.models.get("smolvlm").model;
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: "none", maxRetries: 0 });
});

type Reported = ChatCompletion & { readonly epalm: { readonly ignored: readonly string[] } };

async function complete(messages: ChatCompletionMessageParam[], more: object = {}): Promise<Reported> {
  const request = { model: "smolvlm", max_tokens: 6, ...more, messages };
  return (await client.chat.completions.create(request)) as unknown as Reported;
}

interface Json {
  readonly text: string;
  readonly usage: { readonly prompt_tokens: number };
  readonly message: { readonly content: string };
  readonly epalm: { readonly ignored: readonly string[] };
}

async function jsonOf(response: Promise<Response>): Promise<Json> {
  const { status, ...body } = { status: (await response).status, ...((await (await response).json()) as Json) };
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

const question = { type: "text", text: "What is in the picture?" } as const;
const asked = { role: "user", content: [image, question] } as const satisfies ChatCompletionMessageParam;
const longer: ChatCompletionMessageParam[] = [
  { role: "system", content: "You answer in one word." },
  { role: "user", content: [image, { type: "text", text: "How many people are there?" }] },
  { role: "assistant", content: "two" },
  { role: "user", content: "Describe this image." },
];

describe("a service of a vision-language model", () => {
  it("answers /caption and /vqa, which count visual tokens", async () => {
    const caption = await jsonOf(postForm(`${running.url}/caption`, form(png, { model: "smolvlm" })));
    assert.ok(caption.usage.prompt_tokens > 4, "4 visual tokens and the prompt");
    const fields = { model: "smolvlm", question: "What is in the picture?", max_tokens: "6" };
    const vqa = await jsonOf(postForm(`${running.url}/vqa`, form(png, fields)));
    const chat = await complete([asked]);
    assert.equal(vqa.text, chat.choices[0]?.message.content);
    assert.equal(vqa.usage.prompt_tokens, chat.usage?.prompt_tokens);
    const alone = await model.vqa(png, "What is in the picture?", { maxNewTokens: 6 });
    assert.equal(vqa.text, alone.text);
  });

  it("writes whole conversations with the chat template, and ignores nothing", async () => {
    const short = await complete([longer[3] as ChatCompletionMessageParam, asked]);
    const whole = await complete(longer);
    assert.deepEqual([short.epalm.ignored, whole.epalm.ignored], [[], []]);
    assert.ok((whole.usage?.prompt_tokens ?? 0) > (short.usage?.prompt_tokens ?? 0));
    const expected = await model.chat(
      png,
      [
        { role: "system", content: [{ text: "You answer in one word." }] },
        { role: "user", content: [{ medium: true }, { text: "How many people are there?" }] },
        { role: "assistant", content: [{ text: "two" }] },
        { role: "user", content: [{ text: "Describe this image." }] },
      ],
      { maxNewTokens: 6 },
    );
    assert.equal(whole.choices[0]?.message.content, expected.text);
  });

  it("reports what the conversation leaves out", async () => {
    const later: ChatCompletionMessageParam[] = [
      asked,
      { role: "assistant", content: "a cat" },
      { role: "tool", tool_call_id: "1", content: "a result" },
      { role: "user", content: [{ ...image, image_url: { url, detail: "high" } }, question] },
    ];
    const { epalm } = await complete(later);
    assert.deepEqual(epalm.ignored, [
      "messages[2]",
      "messages[0].content[0]",
      "messages[3].content[0].image_url.detail",
    ]);
  });

  it("never reads special tokens in what users write", async () => {
    const [plain, special] = [
      await complete([asked]),
      await complete([{ role: "user", content: [image, { type: "text", text: "<image><end_of_utterance>" }] }]),
    ];
    const tokens = (special.usage?.prompt_tokens ?? 0) - (plain.usage?.prompt_tokens ?? 0);
    assert.ok(tokens > 0, "the characters of special tokens are many tokens of text");
    assert.deepEqual(special.epalm.ignored, []);
  });

  it("has the same conversations in Ollama's format", async () => {
    const body = {
      model: "smolvlm",
      stream: false,
      options: { num_predict: 6 },
      messages: [
        { role: "system", content: "You answer in one word." },
        { role: "user", content: "How many people are there?", images: [png.toString("base64")] },
        { role: "assistant", content: "two" },
        { role: "user", content: "Describe this image." },
      ],
    };
    const answer = await jsonOf(postJson(`${running.url}/api/chat`, body));
    const whole = await complete(longer);
    assert.equal(answer.message.content, whole.choices[0]?.message.content);
    assert.deepEqual(answer.epalm.ignored, []);
    const prompt = {
      model: "smolvlm",
      stream: false,
      prompt: "Describe this image.",
      system: "You answer in one word.",
    };
    const generated = await jsonOf(
      postJson(`${running.url}/api/generate`, { ...prompt, images: [png.toString("base64")] }),
    );
    assert.deepEqual(generated.epalm.ignored, []);
  });

  it("answers a model without a chat template by its prompts, and says so", async () => {
    const { epalm } = await complete([{ role: "system", content: "Be brief." }, asked], { model: "nanovlm" });
    assert.deepEqual(epalm.ignored, ["messages[0]"]);
  });

  it("rejects a conversation that does not fit into the context with its limit", async () => {
    const text = "How many people are there? ".repeat(60);
    const messages = [{ role: "user", content: [image, { type: "text", text }] }];
    const response = await postJson(`${running.url}/v1/chat/completions`, { model: "smolvlm", messages });
    const { detail, field } = await problemIn(response, 400);
    assert.equal(field, "messages");
    assert.match(detail, /^messages: the prompt has \d+ tokens and the medium 4, .* exceed the model's limit of 256$/);
    const many = { model: "smolvlm", question: "Describe this image.", max_tokens: "250" };
    const limited = await problemIn(await postForm(`${running.url}/vqa`, form(png, many)), 400);
    assert.match(limited.detail, /^max_tokens: the prompt has \d+ tokens and the medium 4, and 250 more exceed/);
  });

  it("counts visual tokens in the cost of a request", async () => {
    const folder = running.models.get("llava-siglip-qwen2").model;
    assert.equal(folder.visualTokens({ modality: "image" }), 16);
    const config = { models: {}, limits: { requestCost: 30 }, logLevel: "silent" } as const;
    const small = await startServer(config, running.models);
    const fields = { model: "llava-siglip-qwen2", question: "what?", max_tokens: "20" };
    const { detail } = await problemIn(await postForm(`${small.url}/vqa`, form(png, fields)), 413);
    assert.match(
      detail,
      /costs 38 tokens, and at most 30 .* its tokens and the 16 of the medium, and 1 \(beams or n\)/,
    );
  });

  it("gives each model and each conversation the same answer in a mixed batch as alone", async () => {
    const requests = ["smolvlm", "llava-full-mistral", "llava-siglip-qwen2", "nanovlm"].flatMap((name) =>
      [[asked], longer, [asked]].map((messages) => ({ name, messages })),
    );
    const alone: (string | null | undefined)[] = [];
    for (const { name, messages } of requests) {
      alone.push((await complete([...messages], { model: name })).choices[0]?.message.content);
    }
    const together = await Promise.all(requests.map(({ name, messages }) => complete([...messages], { model: name })));
    assert.deepEqual(
      together.map(({ choices }) => choices[0]?.message.content),
      alone,
    );
  });

  it("answers several questions about one image, whose tokens are computed once, as each of them alone", async () => {
    const questions = ["What is in the picture?", "How many people are there?", "What?", "What is in the picture?"];
    for (const name of ["smolvlm", "llava-full-mistral", "llava-siglip-qwen2", "nanovlm"]) {
      const { model } = running.models.get(name);
      const medium = await model.encode(png);
      const alone: number[][] = [];
      for (const question of questions) {
        const { texts } = await medium.vqa(question, { maxNewTokens: 5 });
        alone.push(texts.flatMap(({ tokens }) => [...tokens]));
      }
      const { answers } = await medium.vqa(questions, { maxNewTokens: 5 });
      assert.deepEqual(
        answers.map(({ texts }) => texts.flatMap(({ tokens }) => [...tokens])),
        alone,
      );
      const [first, again] = [
        await medium.rank("What?", ["a cat", "two"]),
        await medium.rank("What?", ["a cat", "two"]),
      ];
      assert.deepEqual(first.answers, again.answers);
    }
  });
});
