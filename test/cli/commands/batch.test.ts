import assert from "node:assert/strict";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import type OpenAI from "openai";
import { whileLocked } from "../../../src/core/files/lock-path.js";
import { type BatchAnswer, batchAnswer } from "../../../src/server/dialects/openai-batch.js";
import type { ChatCompletion } from "../../../src/server/dialects/openai-schema.js";
import { epalm, type Finished } from "../../support/cli-process.js";
import { postJson, type Running, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture, temporaryFolder } from "../../support/tiny-model.js";

const folder = temporaryFolder();
/** The limit for a body, in bytes, of both the service and the batches. */
const limits = { bodyBytes: 20_000, mediaBytes: 15_000 };
const config = join(folder, "limits.json");

let model: string;
let running: Running;
let image: string;
before(async () => {
  model = await buildTinyModel();
  running = await startServer({ models: { "gpt-4o-mini": model }, limits, logLevel: "silent" });
  image = `data:image/png;base64,${(await picture()).toString("base64")}`;
  writeFileSync(config, JSON.stringify({ limits }));
});

type Body = OpenAI.ChatCompletionCreateParamsNonStreaming;

function asking(text: string, more: Partial<Body> = {}): Body {
  const content = [
    { type: "text" as const, text },
    { type: "image_url" as const, image_url: { url: image } },
  ];
  return { model: "gpt-4o-mini", messages: [{ role: "user", content }], max_tokens: 6, ...more };
}

function request(custom_id: string, body: object, more: object = {}) {
  return { custom_id, method: "POST", url: "/v1/chat/completions", body, ...more };
}

let files = 0;

/** Paths of an input with these lines and of an output that does not exist. */
function written(lines: readonly (object | string)[]): { readonly input: string; readonly output: string } {
  files++;
  const input = join(folder, `requests-${files}.jsonl`);
  writeFileSync(input, lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join(""));
  return { input, output: join(folder, `answers-${files}.jsonl`) };
}

function batch({ input, output }: ReturnType<typeof written>): Promise<Finished> {
  return epalm(["batch", input, "-o", output, "-m", `gpt-4o-mini=${model}`, "--threads", "1", "--config", config]);
}

function answersIn(path: string): BatchAnswer[] {
  const lines = readFileSync(path, "utf8").split("\n");
  assert.equal(lines.pop(), "");
  return lines.map((line) => batchAnswer.strict().parse(JSON.parse(line)));
}

function answerOf(path: string, customId: string | null): BatchAnswer {
  const [answer, ...others] = answersIn(path).filter(({ custom_id }) => custom_id === customId);
  assert.ok(answer && others.length === 0, `one answer for ${customId}`);
  return answer;
}

/** A body without what differs from request to request. Neighbours in a batch change the last digits of numbers. */
function lasting(body: unknown): object {
  const { id, created, instance, timings, ...rest } = Object(body);
  return JSON.parse(JSON.stringify(rest), (_, value) => (typeof value === "number" ? Number(value.toFixed(4)) : value));
}

describe("epalm batch", () => {
  it("answers a file that was made for OpenAI as the service answers its requests", async () => {
    const bodies: Record<string, object> = {
      caption: asking("Describe the image."),
      question: asking("What colour is it?", { logprobs: true, user: "me" }),
      sampled: asking("What is it?", { temperature: 1, seed: 3, n: 2, max_tokens: 4 }),
      system: asking("What is it?", {
        messages: [{ role: "system", content: "You are helpful." }, ...asking("How many?").messages],
      }),
      long: asking("What is it?", { max_tokens: 1000 }),
      adapter: asking("What is it?", { model: "gpt-4o-mini/words" }),
    };
    const file = written(Object.entries(bodies).map(([id, body]) => request(id, body)));
    const { code, stdout, stderr } = await batch(file);
    assert.deepEqual([code, stdout, stderr], [0, "", "6 of 6 lines are answered\n"]);
    assert.equal(answersIn(file.output).length, 6);
    for (const [id, body] of Object.entries(bodies)) {
      const { response, error } = answerOf(file.output, id);
      const expected = await postJson(`${running.url}/v1/chat/completions`, body);
      assert.deepEqual([response.status_code, error], [200, null]);
      assert.deepEqual(lasting(response.body), lasting(await expected.json()), id);
      const { choices, epalm: report } = response.body as ChatCompletion;
      assert.ok(choices[0]?.message.content);
      if (id === "long") assert.deepEqual(report.ignored, ["max_tokens"]);
    }
    const ids = answersIn(file.output).flatMap(({ id, response }) => [id, response.request_id]);
    assert.equal(new Set(ids).size, 12);
  });

  it("answers requests of /caption and /vqa", async () => {
    const fields = { image: image.split(",")[1], max_tokens: 5 };
    const file = written([
      request("a", fields, { url: "/caption" }),
      request("b", { ...fields, question: "is it red?" }, { url: "/vqa" }),
    ]);
    assert.equal((await batch(file)).code, 0);
    for (const [id, url, body] of [
      ["a", "/caption", fields],
      ["b", "/vqa", { ...fields, question: "is it red?" }],
    ] as const) {
      const expected = await postJson(running.url + url, body);
      assert.deepEqual(lasting(answerOf(file.output, id).response.body), lasting(await expected.json()));
    }
  });

  it("writes the error and the status of the service for requests that it refuses, and answers the others", async () => {
    const refused: Record<string, object> = {
      "no image": { ...asking("x"), messages: [{ role: "user", content: "Hello world!" }] },
      "unknown model": asking("x", { model: "gpt-3.5-turbo-0125" }),
      "remote image": {
        ...asking("x"),
        messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "https://example.org/a.png" } }] }],
      },
      "local file": {
        ...asking("x"),
        messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "file:///etc/passwd" } }] }],
      },
      "invalid option": asking("x", { temperature: 9 }),
      "damaged image": JSON.parse(JSON.stringify(asking("x")).replace(image, image.slice(0, 60))),
      "large body": { ...asking("x"), user: "x".repeat(limits.bodyBytes) },
    };
    const entries = Object.entries(refused);
    const file = written([...entries.map(([id, body]) => request(id, body)), request("good", asking("What is it?"))]);
    const { code, stderr } = await batch(file);
    assert.equal(code, 1);
    assert.match(stderr, /^1 of 8 lines are answered\nepalm: .*requests-\d+\.jsonl: 7 of 8 lines failed; .*\n$/);
    for (const [id, body] of entries) {
      const { response, error } = answerOf(file.output, id);
      const expected = await postJson(`${running.url}/v1/chat/completions`, body);
      assert.ok(expected.status >= 400, id);
      assert.equal(response.status_code, expected.status, id);
      const problem = Object(await expected.json());
      assert.deepEqual(lasting(response.body), lasting(problem), id);
      assert.deepEqual(error, { code: problem.code, message: problem.detail }, id);
    }
    assert.equal(answerOf(file.output, "good").response.status_code, 200);
  });

  it("writes an error for a line that is not a request, with its id if there is one", async () => {
    const good = asking("What is it?");
    const cases: readonly [line: object | string, id: string | null, status: number, message: RegExp][] = [
      ["not JSON", null, 400, /^line: is not JSON/],
      ["[1]", null, 400, /^line: expected a JSON object$/],
      [{ method: "POST", url: "/v1/chat/completions", body: good }, null, 400, /^custom_id: expected/],
      [{ ...request("x", good), custom_id: 7 }, null, 400, /^custom_id: expected/],
      [
        { custom_id: "no body", method: "POST", url: "/v1/chat/completions" },
        "no body",
        400,
        /^body: expected an object/,
      ],
      [request("method", good, { method: "GET" }), "method", 400, /^method: expected "POST"/],
      [request("url", good, { url: "/metrics" }), "url", 400, /^url: expected \/v1\/chat\/completions/],
      [request("traversal", good, { url: "/v1/../metrics" }), "traversal", 400, /^url: expected/],
      [
        request("moderation", good, { url: "/v1/moderations" }),
        "moderation",
        404,
        /does not support \/v1\/moderations/,
      ],
      [request("stream", { ...good, stream: true }), "stream", 400, /^body\.stream: expected false/],
      ["x".repeat(limits.bodyBytes + 70_000), null, 413, /^line: expected at most \d+ bytes/],
      [request("again", good), "again", 400, /^custom_id: expected a different one for each line, got 'again' again$/],
    ];
    const file = written([request("again", good), ...cases.map(([line]) => line), "", request("last", good)]);
    const { code, stderr } = await batch(file);
    assert.equal(code, 1);
    assert.match(stderr, /^2 of 14 lines are answered\nepalm: .*: 12 of 14 lines failed; the first: line 2: /);
    const failures = answersIn(file.output).filter(({ error }) => error !== null);
    assert.equal(failures.length, cases.length);
    for (const [, id, status, message] of cases) {
      const failure = failures.find(({ custom_id, error }) => custom_id === id && message.test(error?.message ?? ""));
      assert.ok(failure, String(message));
      assert.equal(failure.response.status_code, status);
      assert.equal(Object(failure.response.body).error.message, failure.error?.message);
    }
  });
});

describe("a second run on the same output", () => {
  it("answers what is missing or failed, and changes no other line", async () => {
    const all = Array.from({ length: 6 }, (_, at) => request(`r${at}`, asking(`Is it ${at}?`)));
    const complete = written(all);
    const broken = { ...complete, input: written([...all.slice(0, 3), request("r3", {}), "?"]).input };
    assert.equal((await batch(broken)).code, 1);
    const before = answersIn(complete.output).filter(({ error }) => error === null);
    assert.deepEqual(before.map(({ custom_id }) => custom_id).sort(), ["r0", "r1", "r2"]);
    appendFileSync(complete.output, '{"id":"batch_req_0123","custom_id":"r4","respon');
    const { code, stderr } = await batch(complete);
    assert.deepEqual([code, stderr], [0, "6 of 6 lines are answered, 3 of them by earlier runs\n"]);
    const after = answersIn(complete.output);
    assert.deepEqual(after.slice(0, 3), before);
    assert.deepEqual(after.map(({ custom_id }) => custom_id).sort(), ["r0", "r1", "r2", "r3", "r4", "r5"]);
    const bytes = readFileSync(complete.output);
    assert.match((await batch(complete)).stderr, /^6 of 6 lines are answered, 6 of them by earlier runs\n$/);
    assert.deepEqual(readFileSync(complete.output), bytes);
  });

  it("is rejected while the first one runs", async () => {
    const file = written([request("a", asking("What is it?"))]);
    const { code, stderr } = await whileLocked(file.output, () => batch(file));
    assert.equal(code, 1);
    assert.match(stderr, /another process is writing it/);
  });

  it("is rejected if the output is something else, which is left unchanged", async () => {
    const file = written([request("a", asking("What is it?"))]);
    const others = ["hello", "hello\n", '{"custom_id":"a"}', readFileSync(file.input, "utf8"), "\xff"];
    for (const content of others) {
      writeFileSync(file.output, content, "latin1");
      const { code, stderr } = await batch(file);
      assert.equal(code, 2, content);
      assert.match(stderr, /--output: .*answers-\d+\.jsonl:1: expected an answer of a batch/);
      assert.equal(readFileSync(file.output, "latin1"), content);
    }
    assert.equal((await batch({ ...file, output: file.input })).code, 2);
  });
});

describe("a batch that cannot begin", () => {
  it("is reported on one line", async () => {
    const { input } = written([]);
    const cases: readonly [args: string[], code: number, message: RegExp][] = [
      [["nowhere.jsonl", "-o", "x.jsonl"], 1, /^epalm: nowhere\.jsonl: no such file\n$/],
      [[input], 2, /required option '-o, --output <file>'/],
      [[input, "-o", join(folder, "none", "x.jsonl")], 2, /--output: .*none does not exist/],
      [[input, "-o", join(folder, "x.jsonl"), "-m", "nowhere"], 1, /^epalm: nowhere.*\n$/],
    ];
    for (const [args, expected, message] of cases) {
      const { code, stderr } = await epalm(["batch", ...args]);
      assert.equal(code, expected, stderr);
      assert.match(stderr, message);
    }
  });
});
