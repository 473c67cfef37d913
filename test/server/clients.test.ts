import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { AIMessage, type BaseMessage, HumanMessage, SystemMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, type ModelMessage, Output, streamText } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import type { ChatCompletionMessageParam } from "openai/resources/chat/completions";
import type { ResponseInput } from "openai/resources/responses/responses";
import { z } from "zod";
import type { Model } from "../../src/index.js";
import { type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

const KEY = "a-key-of-the-client-tests";
const DOCUMENT = "docs/clients.md";
const [START, END] = ["<!-- table of test/server/clients.test.ts -->", "<!-- end of the table -->"];

/** Positions of the tiny model, and the option with which it answers. */
const maxNewTokens = 6;

interface Turn {
  readonly role: "system" | "user" | "assistant";
  readonly text: string;
  readonly image?: Buffer;
}

interface Ask {
  readonly model: string;
  readonly turns: readonly Turn[];
  readonly tokens?: number;
  /** Above 0, the text arrives in several pieces; without it, beam search sends it at the end. */
  readonly temperature?: number;
  readonly signal?: AbortSignal;
}

/** A program that sends requests, with the calls that all of them have. */
interface Client {
  readonly name: string;
  readonly ask: (ask: Ask) => Promise<string>;
  readonly stream: (ask: Ask) => AsyncIterable<string>;
  /** Asks for a document that matches `thing`, as the program does it. */
  readonly structured: (ask: Ask) => Promise<unknown>;
  /** Further calls, which other programs do not have, with the result that is right. */
  readonly own?: Readonly<Record<string, readonly [result: string, call: () => Promise<string>]>>;
}

const thing = z.object({ colour: z.enum(["red", "blue"]), count: z.int().min(0).max(9) });
const thingSchema = z.toJSONSchema(thing);

let running: Running;
let model: Model;
let [first, second]: Buffer[] = [];
let clients: readonly Client[];
/** Texts of the library, by what they are. */
const known = new Map<string, string>();
const rows: string[] = [];

before(async () => {
  running = await startServer({ models: { tiny: await buildTinyModel() }, keys: { tests: KEY }, logLevel: "silent" });
  model = running.models.get(undefined).model;
  [first, second] = [await picture(7), await picture(90)];
  const texts = {
    "`caption` of the image": model.caption(first, { maxNewTokens }),
    "`caption` of the newest image": model.caption(second, { maxNewTokens }),
    "`vqa` with the question": model.vqa(first, "What colour is it?", { maxNewTokens }),
    "`vqa` with the last question": model.vqa(first, "How many are there?", { maxNewTokens }),
  };
  for (const [name, answer] of Object.entries(texts)) known.set((await answer).text, name);
  assert.equal(known.size, 4, "the texts differ");
  clients = [openAi(), openAiResponses(), ollama(), aiSdk(), langChain()];
});

function dataUrl(image: Buffer): string {
  return `data:image/png;base64,${image.toString("base64")}`;
}

function openAi(): Client {
  const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: KEY, maxRetries: 0 });
  const messages = (turns: readonly Turn[]): ChatCompletionMessageParam[] =>
    turns.map(({ role, text, image }) => {
      if (role !== "user" || !image) return { role, content: text };
      const shown = { type: "image_url" as const, image_url: { url: dataUrl(image) } };
      return { role, content: [{ type: "text" as const, text }, shown] };
    });
  const body = ({ model, turns, tokens = maxNewTokens, temperature }: Ask) => ({
    ...{ model, messages: messages(turns), max_completion_tokens: tokens, temperature: temperature ?? null },
  });
  return {
    name: "`openai`",
    ask: async (ask) => {
      const { choices } = await client.chat.completions.create(body(ask), { signal: ask.signal ?? null });
      return choices[0]?.message.content ?? "";
    },
    stream: async function* (ask) {
      const request = { ...body(ask), stream: true as const };
      const stream = await client.chat.completions.create(request, { signal: ask.signal ?? null });
      for await (const { choices } of stream) yield choices[0]?.delta.content ?? "";
    },
    structured: async (ask) => {
      const response_format = zodResponseFormat(thing, "thing");
      const { choices } = await client.chat.completions.parse({ ...body(ask), response_format });
      return choices[0]?.message.parsed;
    },
    own: {
      "two `top_logprobs` in each place": [
        "two for each token, the more probable first",
        async () => {
          const ask = body({ model: "tiny", turns: asking("What colour is it?") });
          const { choices } = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 });
          const places = choices[0]?.logprobs?.content?.map(({ top_logprobs }) => top_logprobs) ?? [];
          const isRight = places.every(([a, b, more]) => a && b && !more && a.logprob >= b.logprob);
          return places.length > 0 && isRight ? "two for each token, the more probable first" : JSON.stringify(places);
        },
      ],
      "embeddings of two images": [
        "2 vectors of length 1.000",
        async () => {
          const input = [first, second].map((image) => dataUrl(image ?? Buffer.alloc(0)));
          const { data } = await client.embeddings.create({ model: "tiny", input });
          const lengths = new Set(data.map(({ embedding }) => Math.hypot(...embedding).toFixed(3)));
          return `${data.length} vectors of length ${[...lengths].join(", ")}`;
        },
      ],
    },
  };
}

/** The same client with the other API of OpenAI. */
function openAiResponses(): Client {
  const client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: KEY, maxRetries: 0 });
  const input = (turns: readonly Turn[]): ResponseInput =>
    turns.map(({ role, text, image }) => {
      if (role !== "user" || !image) return { role, content: text };
      const shown = { type: "input_image" as const, image_url: dataUrl(image), detail: "auto" as const };
      return { role, content: [{ type: "input_text" as const, text }, shown] };
    });
  const body = ({ model, turns, tokens = maxNewTokens, temperature }: Ask) => ({
    ...{ model, input: input(turns), max_output_tokens: tokens, temperature: temperature ?? null },
  });
  return {
    name: "`openai` with `/v1/responses`",
    ask: async (ask) => (await client.responses.create(body(ask), { signal: ask.signal ?? null })).output_text,
    stream: async function* (ask) {
      // This reads every event, and fails for one that is missing.
      const stream = client.responses.stream(body(ask), { signal: ask.signal ?? null });
      for await (const event of stream) if (event.type === "response.output_text.delta") yield event.delta;
    },
    structured: async (ask) => {
      const text = { format: zodTextFormat(thing, "thing") };
      return (await client.responses.parse({ ...body(ask), text })).output_parsed;
    },
  };
}

function ollama(): Client {
  const create = () => new Ollama({ host: running.url, headers: { authorization: `Bearer ${KEY}` } });
  const body = ({ model, turns, tokens = maxNewTokens, temperature }: Ask) => ({
    model,
    messages: turns.map(({ role, text, image }) => ({
      role,
      content: text,
      ...(image ? { images: [new Uint8Array(image)] } : {}),
    })),
    options: { num_predict: tokens, ...(temperature === undefined ? {} : { temperature }) },
  });
  return {
    name: "`ollama`",
    ask: async (ask) => {
      const client = create();
      // A request without a stream cannot be cancelled with this client, so its tests stream.
      return (await client.chat({ ...body(ask), stream: false })).message.content;
    },
    stream: async function* (ask) {
      const client = create();
      const stream = await client.chat({ ...body(ask), stream: true });
      ask.signal?.addEventListener("abort", () => client.abort());
      for await (const { message } of stream) yield message.content;
    },
    structured: async (ask) => {
      const { message } = await create().chat({ ...body(ask), stream: false, format: thingSchema });
      return JSON.parse(message.content);
    },
  };
}

function aiSdk(): Client {
  const provider = createOpenAICompatible({
    ...{ name: "epalm", baseURL: `${running.url}/v1`, apiKey: KEY },
    supportsStructuredOutputs: true,
  });
  const messages = (turns: readonly Turn[]): ModelMessage[] =>
    turns.map(({ role, text, image }) => {
      if (role !== "user" || !image) return { role, content: text };
      return {
        role,
        content: [
          { type: "text", text },
          { type: "image", image },
        ],
      };
    });
  const body = ({ model, turns, tokens = maxNewTokens, temperature, signal }: Ask) => ({
    model: provider(model),
    messages: messages(turns),
    maxOutputTokens: tokens,
    maxRetries: 0,
    ...(temperature === undefined ? {} : { temperature }),
    ...(signal ? { abortSignal: signal } : {}),
  });
  return {
    name: "`ai` with `@ai-sdk/openai-compatible`",
    ask: async (ask) => (await generateText(body(ask))).text,
    stream: async function* (ask) {
      const failures: unknown[] = [];
      const { textStream } = streamText({ ...body(ask), onError: ({ error }) => void failures.push(error) });
      yield* textStream;
      if (failures.length > 0) throw failures[0];
      ask.signal?.throwIfAborted();
    },
    structured: async (ask) => (await generateText({ ...body(ask), output: Output.object({ schema: thing }) })).output,
  };
}

function langChain(): Client {
  const create = ({ model, tokens = maxNewTokens, temperature }: Ask) =>
    new ChatOpenAI({
      ...{ model, apiKey: KEY, maxTokens: tokens, maxRetries: 0 },
      ...(temperature === undefined ? {} : { temperature }),
      configuration: { baseURL: `${running.url}/v1` },
    });
  const messages = (turns: readonly Turn[]): BaseMessage[] =>
    turns.map(({ role, text, image }) => {
      if (role === "system") return new SystemMessage(text);
      if (role === "assistant") return new AIMessage(text);
      if (!image) return new HumanMessage(text);
      const shown = { type: "image_url" as const, image_url: { url: dataUrl(image) } };
      return new HumanMessage({ content: [{ type: "text" as const, text }, shown] });
    });
  const options = ({ signal }: Ask) => (signal ? { signal } : {});
  return {
    name: "`@langchain/openai`",
    ask: async (ask) => (await create(ask).invoke(messages(ask.turns), options(ask))).text,
    stream: async function* (ask) {
      for await (const chunk of await create(ask).stream(messages(ask.turns), options(ask))) yield chunk.text;
    },
    structured: (ask) => create(ask).withStructuredOutput(thing, { method: "jsonSchema" }).invoke(messages(ask.turns)),
  };
}

async function whole(pieces: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += piece;
  return text;
}

/** What a text is, so that the table shows which answer a client got. */
function described(text: string): string {
  return `the text of ${known.get(text) ?? `neither, but ${JSON.stringify(text)}`}`;
}

async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    const { status, statusCode, status_code, message } = error as Record<string, unknown>;
    return `${status ?? statusCode ?? status_code ?? "error"}: ${
      String(message)
        .replace(/^\d{3} /, "")
        .split("\n")[0]
    }`;
  }
  return "no error";
}

/** Reads a stream until its first text, cancels it, and waits until the service computes nothing. */
async function abort({ stream }: Client): Promise<string> {
  const controller = new AbortController();
  const ask = { model: "tiny", turns: asking("Describe it."), tokens: 32, temperature: 0.5, signal: controller.signal };
  let pieces = 0;
  try {
    for await (const piece of stream(ask)) {
      if (piece === "") continue;
      pieces++;
      controller.abort();
    }
  } catch {
    // Every client throws its own error, or ends the stream.
  }
  assert.ok(pieces > 0 && pieces < 32, `${pieces} pieces`);
  for (let left = 100; left > 0; left--) {
    if ((await inFlight()) === 0) return "the stream ends, and the service stops";
    await pause(20);
  }
  return "the service continues";
}

async function inFlight(): Promise<number> {
  const headers = { authorization: `Bearer ${KEY}` };
  const text = await (await fetch(`${running.url}/metrics`, { headers })).text();
  return Number(/^epalm_queue_running (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

function asking(text: string, ...before: Turn[]): Turn[] {
  return [...before, { role: "user", text, image: first ?? Buffer.alloc(0) }];
}

const calls: Readonly<Record<string, (client: Client) => Promise<string>>> = {
  "a request for a description": async ({ ask }) =>
    described(await ask({ model: "tiny", turns: asking("Please describe the image.") })),
  "a question": async ({ ask }) => described(await ask({ model: "tiny", turns: asking("What colour is it?") })),
  "a question to `tiny/words`, a caption adapter": async ({ ask }) =>
    described(await ask({ model: "tiny/words", turns: asking("What colour is it?") })),
  "a stream": async ({ stream }) => described(await whole(stream({ model: "tiny", turns: asking("Caption:") }))),
  "a system prompt": async ({ ask }) => {
    const system: Turn = { role: "system", text: "You describe images in one sentence." };
    return described(await ask({ model: "tiny", turns: asking("What colour is it?", system) }));
  },
  "a second turn": async ({ ask }) => {
    const turns: Turn[] = [
      ...asking("Describe the image."),
      { role: "assistant", text: "a star" },
      { role: "user", text: "How many are there?" },
    ];
    return described(await ask({ model: "tiny", turns }));
  },
  "a second image": async ({ stream }) => {
    const turns: Turn[] = [
      ...asking("What colour is it?"),
      { role: "assistant", text: "red" },
      { role: "user", text: "Describe this one.", image: second ?? Buffer.alloc(0) },
    ];
    return described(await whole(stream({ model: "tiny", turns })));
  },
  "a document that matches a schema": async ({ structured }) => {
    const document = await structured({ model: "tiny", turns: asking("What colour is it?"), tokens: 30 });
    return thing.safeParse(document).success ? "an object that matches it" : JSON.stringify(document);
  },
  "an abort after the first text": abort,
  "an unknown model": ({ ask }) => failure(ask({ model: "gpt-4", turns: asking("What is it?") })),
  "an unknown adapter in a stream": ({ stream }) =>
    failure(whole(stream({ model: "tiny/none", turns: asking("What is it?") }))),
  "no image": ({ ask }) => failure(ask({ model: "tiny", turns: [{ role: "user", text: "What is it?" }] })),
};

/** Results that are right. Errors differ, because clients word them differently. */
const expected: Readonly<Record<string, RegExp>> = {
  "a request for a description": /^the text of `caption` of the image$/,
  "a question": /^the text of `vqa` with the question$/,
  "a question to `tiny/words`, a caption adapter": /^the text of `caption` of the image$/,
  "a stream": /^the text of `caption` of the image$/,
  "a system prompt": /^the text of `vqa` with the question$/,
  "a second turn": /^the text of `vqa` with the last question$/,
  "a second image": /^the text of `caption` of the newest image$/,
  "a document that matches a schema": /^an object that matches it$/,
  "an abort after the first text": /^the stream ends, and the service stops$/,
  "an unknown model": /^404: model: expected one of tiny, got 'gpt-4'$/,
  "an unknown adapter in a stream": /^404: model: expected an adapter among words, answers, got 'none'$/,
  "no image": /^400: (messages|input): expected an image/,
};

describe("clients of other APIs", () => {
  for (const [call, run] of Object.entries(calls)) {
    it(`get the right result: ${call}`, async () => {
      for (const client of clients) {
        const result = await run(client);
        rows.push(`| ${client.name} | ${call} | ${result} |`);
        assert.match(result, expected[call] ?? /^$/, client.name);
      }
    });
  }

  it("get the right result from calls of their own", async () => {
    for (const { name, own = {} } of clients) {
      for (const [call, [right, run]] of Object.entries(own)) {
        const result = await run();
        rows.push(`| ${name} | ${call} | ${result} |`);
        assert.equal(result, right, call);
      }
    }
  });

  it("are listed with their results in the documentation", () => {
    const ordered = clients.flatMap(({ name }) => rows.filter((row) => row.startsWith(`| ${name} |`)));
    const table = ["| client | call | result |", "| --- | --- | --- |", ...ordered].join("\n");
    const document = readFileSync(DOCUMENT, "utf8");
    const [head = "", rest = ""] = document.split(START);
    const [, tail = ""] = rest.split(END);
    const updated = `${head}${START}\n\n${table}\n\n${END}${tail}`;
    if (process.env.EPALM_UPDATE_DOCS === "1") writeFileSync(DOCUMENT, updated);
    else assert.equal(document, updated, "run the test with EPALM_UPDATE_DOCS=1 to write the table");
  });
});

after(() => running.stop());
