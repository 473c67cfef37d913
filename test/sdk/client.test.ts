import assert from "node:assert/strict";
import { createReadStream, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { EpalmApiError, EpalmClient, EpalmError, type MediumInput } from "../../src/sdk/index.js";
import { piecesOf } from "../support/pieces-of.js";
import { startServer } from "../support/running-server.js";
import { settledSteps } from "../support/settled-steps.js";
import { buildTinyModel, picture, temporaryFolder } from "../support/tiny-model.js";

const KEY = "a-key-of-more-than-16-characters";
const folder = await buildTinyModel();
const { url, models, log } = await startServer({
  models: { tiny: folder, other: folder },
  keys: { tests: KEY },
  logLevel: "debug",
});
const client = new EpalmClient({ baseUrl: url, apiKey: KEY, retries: 0 });
const { model } = models.get("tiny");

const bytes = await picture();
const file = join(temporaryFolder(), "a picture.png");
writeFileSync(file, bytes);
const expected = await model.caption(bytes);

async function* inPieces(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100) yield bytes.subarray(at, at + 100);
}

const forms: Readonly<Record<string, () => MediumInput>> = {
  path: () => file,
  "file URL": () => pathToFileURL(file),
  "data URL": () => new URL(`data:image/png;base64,${bytes.toString("base64")}`),
  "blob URL": () => new URL(URL.createObjectURL(new Blob([bytes]))),
  Buffer: () => bytes,
  Uint8Array: () => new Uint8Array(bytes),
  ArrayBuffer: () => new Uint8Array(bytes).buffer,
  Blob: () => new Blob([bytes]),
  File: () => new File([bytes], 'a "quoted"\r\nname.png', { type: "image/png" }),
  ReadableStream: () => new Blob([bytes]).stream(),
  "stream of Node": () => createReadStream(file),
  generator: () => inPieces(),
};

for (const [form, make] of Object.entries(forms)) {
  test(`accepts an image as ${form}`, async () => {
    assert.equal((await client.caption(make())).text, expected.text);
  });
}

test("sends an https URL to the service, which allows no hosts by default", async () => {
  const asked = client.caption(new URL("https://example.org/cat.png"));
  await assert.rejects(asked, { name: "EpalmApiError", code: "invalid_option", field: "media" });
});

const wrongMedia: Readonly<Record<string, () => unknown>> = {
  "a URL as a string": () => "https://example.org/cat.png",
  "an empty path": () => "",
  "another kind of URL": () => new URL("ftp://example.org/cat.png"),
  "a broken data URL": () => new URL("data:image/png;base64,%%%"),
  "a number": () => 7,
  "a stream of strings": () => createReadStream(file, "latin1"),
  "a stream that fails": () => createReadStream("nowhere.png"),
};

for (const [title, make] of Object.entries(wrongMedia)) {
  test(`rejects a medium: ${title}`, async () => {
    await assert.rejects(client.caption(make() as MediumInput), (error) => {
      assert.ok(error instanceof EpalmError && !(error instanceof EpalmApiError));
      assert.match(error.message, /^media: /);
      return error.code === "invalid_option";
    });
  });
}

test("closes a stream without data after the timeout", async () => {
  let isClosed = false;
  const endless = new ReadableStream<Uint8Array>({
    cancel: () => {
      isClosed = true;
    },
  });
  await assert.rejects(client.caption(endless, { timeout: 100 }), { code: "deadline_exceeded" });
  assert.equal(isClosed, true);
});

test("answers several questions in their order, and a list of one question", async () => {
  const questions = ["what?", "where?", "what?"];
  const { answers, usage, adapter, modality } = await client.vqa(bytes, questions, { maxNewTokens: 5 });
  const single = await Promise.all(questions.map((text) => model.vqa(bytes, text, { maxNewTokens: 5 })));
  assert.deepEqual(
    answers.map(({ question, text }) => [question, text]),
    single.map(({ text }, at) => [questions[at], text]),
  );
  assert.deepEqual([usage.newTokens, adapter, modality], [15, "answers", "image"]);
  const [only, ...rest] = (await client.vqa(bytes, ["what?"], { maxNewTokens: 5 })).answers;
  assert.deepEqual([only?.question, only?.text, rest.length], ["what?", single[0]?.text, 0]);
});

test("streams the answers to several questions concurrently", async () => {
  const questions = ["what?", "where?"];
  const stream = client.streamVqa(bytes, questions, { maxNewTokens: 8, beams: 1 });
  const grown = ["", ""];
  for await (const { index, text } of stream) grown[index] += text;
  const { answers } = await stream.answer();
  assert.deepEqual(
    grown,
    answers.map(({ text }) => text),
  );
  const heard = ["", ""];
  const onText = (text: string, index: number) => {
    heard[index] += text;
  };
  await client.vqa(bytes, questions, { maxNewTokens: 8, beams: 1, onText });
  assert.deepEqual(heard, grown);
});

test("yields the pieces of the text, then the complete answer", async () => {
  const stream = client.streamCaption(bytes, { beams: 1, logprobs: true });
  const pieces = await piecesOf(stream);
  const answer = await stream.answer();
  assert.ok(pieces.length > 2);
  assert.equal(pieces.join(""), answer.text);
  assert.equal(answer.text, (await model.caption(bytes, { beams: 1 })).text);
  assert.deepEqual(await piecesOf(stream), []);
  assert.equal((await client.streamVqa(bytes, "what?").answer()).text, (await client.vqa(bytes, "what?")).text);
});

test("returns log-probabilities on request", async () => {
  const options = { maxNewTokens: 6 };
  const [text] = (await client.caption(bytes, { ...options, logprobs: true })).texts;
  const [own] = (await model.caption(bytes, options)).texts;
  assert.deepEqual([text?.tokens, text?.pieces], [own?.tokens, own?.pieces]);
  assert.deepEqual(text?.logProbs, own?.logProbs);
  const [quiet] = (await client.caption(bytes, options)).texts;
  assert.deepEqual(Object.keys(quiet ?? {}), ["text", "score", "finish"]);
});

test("lists models and uses the named one", async () => {
  const known = await client.models();
  assert.deepEqual(
    known.map(({ name }) => name),
    ["tiny", "other"],
  );
  assert.deepEqual(known[0]?.adapters[1], { name: "answers", tasks: ["vqa"], modality: "image" });
  assert.equal((await client.caption(bytes, { model: "other" })).model, "other");
  await assert.rejects(client.caption(bytes, { model: "none" }), { code: "not_found", field: "model" });
});

test("reports health without a key", async () => {
  assert.deepEqual(await new EpalmClient({ baseUrl: url }).health(), {
    isReady: true,
    models: ["tiny", "other"],
  });
});

test("converts a problem to an error with the option names of the client", async () => {
  await assert.rejects(client.caption(bytes, { maxNewTokens: 2000 }), (error) => {
    assert.ok(error instanceof EpalmApiError && error instanceof EpalmError);
    assert.deepEqual([error.status, error.code, error.field], [413, "too_large", "maxNewTokens"]);
    assert.equal(error.message, "maxNewTokens: expected at most 1024, got 2000");
    assert.equal(error.detail, "max_tokens: expected at most 1024, got 2000");
    assert.ok(log.some(({ reqId }) => reqId === error.requestId));
    return true;
  });
  const stranger = new EpalmClient({ baseUrl: url });
  await assert.rejects(stranger.caption(bytes), { status: 401, code: "unauthorized" });
  const large = new Uint8Array(65 * 1024 * 1024);
  await assert.rejects(client.caption(large), { status: 413, code: "too_large", field: "media" });
});

test("cancels the request in the service when a stream is left early", async () => {
  const controller = new AbortController();
  // Many questions make each step long enough to cancel between two steps.
  const questions = Array.from({ length: 16 }, (_, at) => `${at}`);
  const options = { beams: 1, maxNewTokens: 55 };
  const ways: (() => Promise<void>)[] = [
    async () => {
      for await (const _ of client.streamVqa(bytes, questions, options)) break;
    },
    async () => {
      const stream = client.streamVqa(bytes, questions, { ...options, signal: controller.signal });
      const loop = async () => {
        for await (const _ of stream) controller.abort();
      };
      await assert.rejects(loop(), { name: "AbortError", code: "aborted" });
    },
  ];
  for (const leave of ways) {
    const before = (await model.counts()).decoder.steps;
    await leave();
    const steps = (await settledSteps(model)) - before;
    assert.ok(steps < 50, `${steps} steps of 55`);
  }
});

test("validates the options of the client", () => {
  const wrong: Readonly<Record<string, object>> = {
    baseUrl: { baseUrl: "localhost:8080" },
    "baseUrl: expected a URL without": { baseUrl: "http://me:secret@localhost" },
    timeout: { baseUrl: url, timeout: 0 },
    retries: { baseUrl: url, retries: 1.5 },
    apiKey: { baseUrl: url, apiKey: "two words" },
    "client options": { baseUrl: url, key: KEY },
  };
  for (const [start, options] of Object.entries(wrong)) {
    assert.throws(
      () => new EpalmClient(options as { baseUrl: string }),
      (error) => {
        assert.ok(error instanceof EpalmError && error.code === "invalid_option");
        assert.ok(error.message.startsWith(start) && !/secret|two words/.test(error.message), error.message);
        return true;
      },
    );
  }
});

test("validates the options of a call and ignores none", async () => {
  const own = new EpalmClient({ baseUrl: "http://127.0.0.1:9", retries: 0 });
  const options = { code: "invalid_option" };
  const rank = { beams: 2 } as object;
  await assert.rejects(own.rank(bytes, "?", ["a"], rank), options);
  await assert.rejects(own.rank(bytes, "?", [7 as unknown as string]), options);
  await assert.rejects(own.vqa(bytes, []), options);
  await assert.rejects(own.vqa(bytes, 7 as unknown as string), options);
  await assert.rejects(own.caption(bytes, { timeout: -1 }), options);
  await assert.rejects(own.caption(bytes, { textOnly: true } as object), options);
  await assert.rejects(own.caption(bytes, { logprobs: 1 } as object), options);
  assert.throws(() => own.streamCaption(bytes, { onText: () => undefined } as object), options);
});
