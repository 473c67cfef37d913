import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { randomStreams } from "../../src/core/random.js";
import type { Model } from "../../src/index.js";
import { encodePng } from "../../src/media/decode/image/encode-png.js";
import { listAnswer, textAnswer } from "../../src/wire.js";
import { eventsIn, form, postForm, postJson, problemIn, type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

let running: Running;
let model: Model;
let png: Buffer;
before(async () => {
  running = await startServer({ models: { tiny: await buildTinyModel() }, logLevel: "info" });
  model = running.models.get("tiny").model;
  png = await picture();
});

const url = (path: string) => running.url + path;

describe("POST /caption", () => {
  it("accepts an image as a file, as base64 and as a data URL, and answers like the library", async () => {
    const expected = await model.caption(png, { maxNewTokens: 9 });
    const base64 = png.toString("base64");
    const answers = [
      await postForm(url("/caption"), form(png, { max_tokens: "9" })),
      await postForm(url("/caption"), form(undefined, { max_tokens: "9", image: base64 })),
      await postJson(url("/caption"), { image: base64, max_tokens: 9 }),
      await postJson(url("/caption"), { image: `data:image/png;base64,${base64}`, max_tokens: 9 }),
    ];
    for (const response of answers) {
      assert.equal(response.status, 200);
      const answer = textAnswer.parse(await response.json());
      assert.equal(answer.text, expected.text);
      assert.equal(answer.texts[0]?.score, expected.texts[0]?.score);
      const { model, adapter, modality, usage } = answer;
      assert.deepEqual({ model, adapter, modality }, { model: "tiny", adapter: "words", modality: "image" });
      assert.deepEqual(usage, { prompt_tokens: 1, completion_tokens: expected.usage.newTokens });
    }
  });

  it("passes on all generation options", async () => {
    const drawn = {
      temperature: 1.5,
      top_k: 20,
      top_p: 0.9,
      seed: 3,
      n: 2,
      max_tokens: 12,
      min_tokens: 4,
      stop: ["q"],
    };
    const expected = await model.caption(png, {
      ...{
        temperature: 1.5,
        topK: 20,
        topP: 0.9,
        seed: 3,
        numReturnSequences: 2,
        maxNewTokens: 12,
        minNewTokens: 4,
      },
      stop: ["q"],
    });
    const response = await postJson(url("/caption"), { image: png.toString("base64"), ...drawn });
    const { texts } = textAnswer.parse(await response.json());
    assert.deepEqual(
      texts.map(({ text }) => text),
      expected.texts.map(({ text }) => text),
    );
    const searched = { beams: 4, length_penalty: 0.5, early_stopping: "never", n: 3, adapter: "answers" };
    const fields = Object.fromEntries(Object.entries(searched).map(([name, value]) => [name, String(value)]));
    const beams = textAnswer.parse(await (await postForm(url("/caption"), form(png, fields))).json());
    assert.equal(beams.texts.length, 3);
    assert.equal(beams.adapter, "answers");
  });

  it("returns tokens with their log-probabilities on request", async () => {
    const response = await postForm(url("/caption"), form(png, { logprobs: "true", beams: "1", max_tokens: "6" }));
    const { texts, usage } = textAnswer.parse(await response.json());
    const tokens = texts[0]?.tokens ?? [];
    assert.equal(tokens.length, usage?.completion_tokens);
    assert.ok(tokens.every(({ log_prob }) => log_prob < 0));
    assert.deepEqual([texts[0]?.finish_reason, texts[0]?.end_log_prob], ["length", undefined]);
  });

  it("adds biases from a form, and the most probable tokens in the place of each", async () => {
    const [biased] = (await model.caption(png, { maxNewTokens: 6, beams: 1 })).texts[0]?.tokens ?? [];
    const fields = {
      beams: "1",
      max_tokens: "6",
      logit_bias: JSON.stringify({ [biased ?? 0]: -100 }),
      top_logprobs: "2",
    };
    const { texts } = textAnswer.parse(await (await postForm(url("/caption"), form(png, fields))).json());
    const tokens = texts[0]?.tokens ?? [];
    assert.ok(tokens.length > 0 && tokens.every(({ id, top }) => id !== biased && top?.length === 2));
    assert.equal(tokens[0]?.top?.[0]?.id, biased, "log-probabilities are those of the model itself");
    for (const [bias, message] of [
      ["{", "the part is not valid JSON"],
      ['{"5": 101}', "expected"],
      ['["5"]', "expected"],
      ['{"99999": 1}', "expected token ids below"],
    ] as const) {
      const refused = await postForm(url("/caption"), form(png, { ...fields, logit_bias: bias }));
      const { field, detail } = await problemIn(refused, 400);
      assert.match(field ?? "", /^logit_bias/);
      assert.match(detail, new RegExp(message));
    }
  });

  it("gives the same texts with and without penalties, whether or not they share a step", async () => {
    const settings = [
      {},
      { repetitionPenalty: 1.5 },
      { beams: 3 },
      { beams: 3, frequencyPenalty: 1, topLogprobs: 2 },
      { temperature: 1, seed: 2 },
      { temperature: 1, seed: 2, topK: 5, presencePenalty: 2 },
      { logitBias: { 5: 4 } },
    ].map((one) => ({ maxNewTokens: 12, minNewTokens: 6, ...one }));
    const alone: unknown[] = [];
    for (const options of settings) alone.push((await model.caption(png, options)).texts.map(({ text }) => text));
    const together = await Promise.all(settings.map((options) => model.caption(png, options)));
    assert.deepEqual(
      together.map(({ texts }) => texts.map(({ text }) => text)),
      alone,
    );
    assert.ok(new Set(alone.map(String)).size > 4);
  });

  it("reports why a text ended: by an end token, a stop string or the limit of tokens", async () => {
    const ask = async (fields: Record<string, string>) => {
      const response = await postForm(url("/caption"), form(png, { logprobs: "true", ...fields }));
      return textAnswer.parse(await response.json());
    };
    const drawn = { temperature: "2", max_tokens: "60" };
    const seeds = Array.from({ length: 200 }, (_, seed) => String(seed));
    let ended: Awaited<ReturnType<typeof ask>> | undefined;
    for (const seed of seeds) {
      const answer = await ask({ ...drawn, seed });
      if (answer.texts[0]?.finish_reason !== "end") continue;
      ended = answer;
      break;
    }
    assert.ok(ended, "none of 200 texts ended with an end token");
    const [text] = ended.texts;
    assert.ok((text?.end_log_prob ?? 0) < 0);
    assert.equal((text?.tokens?.length ?? 0) + 1, ended.usage.completion_tokens);
    const whole = (await ask({ beams: "1", max_tokens: "20" })).text;
    const stopped = await ask({ beams: "1", max_tokens: "20", stop: whole.slice(2, 4) });
    assert.deepEqual([stopped.texts[0]?.finish_reason, stopped.texts[0]?.end_log_prob], ["stop", undefined]);
  });

  it("accepts large images in JSON, and names the invalid field", async () => {
    const [random = Math.random] = randomStreams(1, 1);
    const noise = Uint8Array.from({ length: 300 * 200 * 3 }, () => 256 * random());
    const large = Buffer.from(await encodePng(noise, 300, 200));
    const base64 = large.toString("base64");
    assert.ok(base64.length > 100_000, "bodies of this size are parsed in a thread");
    const expected = (await model.caption(large, { maxNewTokens: 9 })).text;
    const asked = await Promise.all([
      postForm(url("/caption"), form(large, { max_tokens: "9" })),
      postJson(url("/caption"), { image: base64, max_tokens: 9 }),
      postJson(url("/caption"), { image: `data:image/png;base64,${base64}`, max_tokens: 9 }),
    ]);
    for (const response of asked) assert.equal(textAnswer.parse(await response.json()).text, expected);
    const wrong: readonly (readonly [unknown, string | undefined, RegExp])[] = [
      [{ image: base64, max_tokens: 0 }, "max_tokens", /^max_tokens: expected an integer from 1 to 4096, got 0$/],
      [{ image: base64, nothing: 1 }, "nothing", /^nothing: is not a known key$/],
      [{ image: `${base64}!` }, "image", /^image: expected base64/],
      [[base64], undefined, /^body: expected a JSON object/],
      [{ image: base64, stop: Array.from({ length: 200_000 }, () => []) }, undefined, /^body: expected at most 100000/],
    ];
    for (const [body, field, detail] of wrong) {
      const problem = await problemIn(await postJson(url("/caption"), body), field || Array.isArray(body) ? 400 : 413);
      assert.equal(problem.field, field);
      assert.match(problem.detail, detail);
    }
    const cut = JSON.stringify({ image: base64 }).slice(0, -5);
    const response = await postForm(url("/caption"), cut as unknown as FormData, {
      headers: { "content-type": "application/json" },
    });
    assert.match((await problemIn(response, 400)).detail, /^body: is not valid JSON/);
  });
});

describe("POST /vqa", () => {
  it("answers a list of questions and encodes the image only once", async () => {
    const fresh = await picture(11);
    const before = (await model.counts()).encoder.examples;
    const question = ["what is it?", "how many?", "which colour?"];
    const response = await postForm(url("/vqa"), form(fresh, { question }));
    const { answers, usage } = listAnswer.parse(await response.json());
    assert.equal((await model.counts()).encoder.examples, before + 1);
    assert.deepEqual(
      answers.map((answer) => answer.question),
      question,
    );
    let prompt = 0;
    for (const { question, text } of answers) {
      const alone = await model.vqa(fresh, question);
      assert.equal(text, alone.text);
      prompt += alone.usage.promptTokens;
    }
    assert.equal(usage?.prompt_tokens, prompt);
  });

  it("accepts a list of one question, in a form as question[]", async () => {
    const base64 = png.toString("base64");
    const asked = [
      await postForm(url("/vqa"), form(png, { "question[]": "what?" })),
      await postJson(url("/vqa"), { image: base64, question: ["what?"] }),
    ];
    for (const response of asked) {
      const { answers } = listAnswer.parse(await response.json());
      assert.deepEqual(
        answers.map(({ question }) => question),
        ["what?"],
      );
    }
    const two = await postForm(url("/vqa"), form(png, { "question[]": ["what?", "who?"] }));
    assert.equal(listAnswer.parse(await two.json()).answers.length, 2);
    const both = await postForm(url("/vqa"), form(png, { "question[]": "what?", question: "who?" }));
    assert.equal((await problemIn(both, 400)).field, "question");
  });

  it("skips the encoder for a cached image", async () => {
    const fresh = await picture(13);
    await (await postForm(url("/vqa"), form(fresh, { question: "what?" }))).json();
    const { examples, cacheHits } = (await model.counts()).encoder;
    const again = await postForm(url("/vqa"), form(fresh, { question: "who?" }));
    const { timings } = textAnswer.parse(await again.json());
    const counts = (await model.counts()).encoder;
    assert.deepEqual([counts.examples, counts.cacheHits], [examples, cacheHits + 1]);
    assert.equal(timings.encoder, 0);
  });

  it("ranks candidates", async () => {
    const candidates = ["yes", "no", "a red car"];
    const expected = await model.rank(png, "is it?", candidates, { normalisation: "mean" });
    const response = await postForm(url("/vqa"), form(png, { question: "is it?", candidates, rank_by: "mean" }));
    const { text, texts, usage } = textAnswer.parse(await response.json());
    assert.equal(text, expected.answers[0]?.text);
    assert.deepEqual(
      texts,
      expected.answers.map(({ text, index, score, probability, logProb, meanLogProb }) => {
        assert.deepEqual([text, score], [candidates[index], meanLogProb]);
        return { text, score, index, probability, log_prob: logProb, mean_log_prob: meanLogProb };
      }),
    );
    const { promptTokens } = (await model.vqa(png, "is it?", { maxNewTokens: 1 })).usage;
    assert.ok(expected.usage.promptTokens > promptTokens + candidates.length, "the tokens of candidates count, too");
    assert.deepEqual(usage, { prompt_tokens: expected.usage.promptTokens, completion_tokens: 0 });
    const bySum = await postForm(url("/vqa"), form(png, { question: "is it?", candidates }));
    for (const { score, log_prob } of textAnswer.parse(await bySum.json()).texts) assert.equal(score, log_prob);
  });
});

describe("event streams", () => {
  it("contain the text piece by piece, then the complete answer", async () => {
    const fields = { question: "what?", stream: "true", beams: "1", max_tokens: "20", min_tokens: "10" };
    const response = await postForm(url("/vqa"), form(png, fields));
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    const events = await eventsIn(response);
    const pieces = events.slice(0, -1).map(({ name, data }) => {
      assert.equal(name, "text");
      return (data as { text: string }).text;
    });
    const last = events.at(-1);
    assert.equal(last?.name, "answer");
    assert.ok(pieces.length > 3, `${pieces.length} pieces`);
    assert.equal(pieces.join(""), textAnswer.parse(last?.data).text);
  });

  it("are also sent for Accept: text/event-stream, with the index of each question", async () => {
    const body = { image: png.toString("base64"), question: ["what?", "who?"], beams: 1 };
    const response = await postJson(url("/vqa"), body, { headers: { accept: "text/event-stream" } });
    const events = await eventsIn(response);
    const { answers } = listAnswer.parse(events.at(-1)?.data);
    for (const [index, { text }] of answers.entries()) {
      const own = events.flatMap(({ name, data }) =>
        name === "text" ? [data as { index: number; text: string }] : [],
      );
      assert.equal(
        own
          .filter((event) => event.index === index)
          .map((event) => event.text)
          .join(""),
        text,
      );
    }
  });

  it("are not started if the request fails before the first text", async () => {
    const response = await postForm(url("/caption"), form(png.subarray(0, 300), { stream: "true" }));
    assert.equal((await problemIn(response, 422)).field, "image");
  });
});

describe("a client that disconnects", () => {
  it("cancels its request", async () => {
    const controller = new AbortController();
    const fields = { temperature: "1", min_tokens: "60", max_tokens: "60", stream: "true", n: "1" };
    const response = await postForm(url("/caption"), form(png, fields), { signal: controller.signal });
    const reader = response.body?.getReader();
    await reader?.read();
    const steps = (await model.counts()).decoder.steps;
    controller.abort();
    await reader?.closed.catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const later = (await model.counts()).decoder;
    assert.ok(later.steps < steps + 55, `${later.steps - steps} more steps`);
    assert.equal(later.lastSequences, 0);
    const metrics = await (await fetch(url("/metrics"))).text();
    assert.match(metrics, /^epalm_queue_running 0$/m);
    assert.match(metrics, /^epalm_queue_waiting 0$/m);
  });
});

describe("logs", () => {
  it("contain the request id, which the client may set, but no media and no questions", async () => {
    const secret = "what-is-in-this-very-picture";
    const headers = { "x-request-id": "mine-1" };
    const response = await postForm(`${url("/vqa")}?token=abc`, form(png, { question: secret }), { headers });
    assert.equal(response.headers.get("x-request-id"), "mine-1");
    await response.arrayBuffer();
    const text = JSON.stringify(running.log);
    assert.match(text, /mine-1/);
    assert.doesNotMatch(text, /what-is-in|token=abc/);
  });
});
