import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { textAnswer } from "../../src/wire.js";
import { form, postForm, problemIn, type Running, startServer } from "./running-server.js";
import { buildTinyModel, picture } from "./tiny-model.js";

const REQUESTS = 500;
const QUEUE = { running: 8, waiting: 24 };
/** A refusal is an answer of a few milliseconds; the machine is busy, so that many are allowed for. */
const PROMPT = 5000;

let running: Running;
let png: Buffer;
before(async () => {
  running = await startServer({
    models: { tiny: await buildTinyModel() },
    logLevel: "silent",
    queue: QUEUE,
    limits: { answerSeconds: 50 },
  });
  png = await picture();
});

const caption = (signal?: AbortSignal) =>
  postForm(`${running.url}/caption`, form(png, { max_tokens: "5" }), signal ? { signal } : {});

describe("too many requests at once", () => {
  it(`get an answer or a prompt 503: ${REQUESTS} against a queue of ${QUEUE.running + QUEUE.waiting}`, async () => {
    const expected = await running.models.get("tiny").model.caption(png, { maxNewTokens: 5 });
    const started = performance.now();
    const outcomes = await Promise.all(
      Array.from({ length: REQUESTS }, async () => {
        const response = await caption();
        if (response.status === 200) {
          assert.equal(textAnswer.parse(await response.json()).text, expected.text);
          return "answered";
        }
        const took = performance.now() - started;
        const { code } = await problemIn(response, 503);
        assert.equal(code, "overloaded");
        assert.ok(Number(response.headers.get("retry-after")) >= 1);
        assert.ok(took < PROMPT, `a refusal took ${took} ms`);
        return "refused";
      }),
    );
    const answered = outcomes.filter((outcome) => outcome === "answered").length;
    assert.ok(answered >= QUEUE.running, `${answered} were answered`);
    assert.ok(answered < REQUESTS, "the queue was never full");
    assert.equal((await caption()).status, 200);
    assert.equal((await fetch(`${running.url}/readyz`)).status, 200);
  });

  it("leave no place taken when clients go away", async () => {
    const controller = new AbortController();
    const gone = Array.from({ length: 40 }, () => caption(controller.signal).catch(() => undefined));
    setTimeout(() => controller.abort(), 30);
    await Promise.all(gone);
    // The service hears of closed connections a moment later than we close them.
    const isEmpty = (metrics: string) =>
      /^epalm_queue_running 0$/m.test(metrics) && /^epalm_queue_waiting 0$/m.test(metrics);
    const started = performance.now();
    while (!isEmpty(await (await fetch(`${running.url}/metrics`)).text())) {
      assert.ok(performance.now() - started < PROMPT, "places are still taken");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal((await caption()).status, 200);
  });
});
