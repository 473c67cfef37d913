import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { before, describe, it } from "node:test";
import { textAnswer } from "../../src/wire.js";
import { form, postForm, postJson, problemIn, type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

const REQUESTS = 500;
const QUEUE = { running: 8, waiting: 24 };
/** A rejection takes a few milliseconds, plus the time of 500 clients in this process; a hang would take 50 s. */
const PROMPT = 15_000;

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
  it(`get an answer or a prompt 503: ${REQUESTS} requests, ${QUEUE.running + QUEUE.waiting} places`, async () => {
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

  it("release their places when clients disconnect", async () => {
    const controller = new AbortController();
    const gone = Array.from({ length: 40 }, () => caption(controller.signal).catch(() => undefined));
    setTimeout(() => controller.abort(), 30);
    await Promise.all(gone);
    // The service notices closed connections with a short delay.
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

/** Sends headers and part of a body, and then nothing. */
function slowUpload(url: string, sent: number, length = 40_000): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.write(
    `POST /caption HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`,
  );
  socket.write("x".repeat(sent));
  return socket;
}

async function metric(url: string, name: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1]);
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const started = performance.now();
  while (!(await isSo())) {
    assert.ok(performance.now() - started < PROMPT, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("requests that arrive slowly", () => {
  it("take no place in the queue, are bounded in number, and release everything", async () => {
    const { url } = await startServer(
      { models: {}, logLevel: "silent", queue: { running: 1, waiting: 0, arriving: 3 } },
      running.models,
    );
    const slow = [10, 20].map((sent) => slowUpload(url, sent));
    await until(async () => (await metric(url, "epalm_queue_bytes")) === 30, "bytes that arrived are counted");
    assert.deepEqual([await metric(url, "epalm_queue_arriving"), await metric(url, "epalm_queue_waiting")], [2, 0]);
    const ask = () => postForm(`${url}/caption`, form(png, { max_tokens: "3" }));
    assert.equal((await ask()).status, 200);
    slow.push(slowUpload(url, 1));
    await until(async () => (await metric(url, "epalm_queue_arriving")) === 3, "three requests are arriving");
    const refused = await ask();
    assert.ok(Number(refused.headers.get("retry-after")) >= 1);
    assert.match((await problemIn(refused, 503)).detail, /3 requests are already arriving/);
    assert.equal((await fetch(`${url}/readyz`)).status, 200, "uploads do not make the service unready");
    for (const socket of slow) socket.destroy();
    await until(
      async () => (await metric(url, "epalm_queue_arriving")) === 0,
      "disconnected clients are no longer counted",
    );
    assert.equal(await metric(url, "epalm_queue_bytes"), 0);
    assert.equal((await ask()).status, 200);
  });

  it("are bounded in their total bytes, in JSON and in forms", async () => {
    const limits = { bodyBytes: 50_000, mediaBytes: 50_000 };
    const { url } = await startServer(
      { models: {}, logLevel: "silent", limits, queue: { bytes: 60_000 } },
      running.models,
    );
    const socket = slowUpload(url, 35_000);
    await until(async () => (await metric(url, "epalm_queue_bytes")) === 35_000, "bytes that arrived are counted");
    const base64 = "A".repeat(40_000);
    const large = [
      await postJson(`${url}/caption`, { image: base64 }),
      await postForm(`${url}/caption`, form(Buffer.alloc(40_000))),
    ];
    for (const response of large) {
      assert.match((await problemIn(response, 503)).detail, /the bodies of all requests exceed 60000 bytes/);
    }
    assert.equal((await postForm(`${url}/caption`, form(png, { max_tokens: "3" }))).status, 200);
    socket.destroy();
    await once(socket, "close");
    await until(async () => (await metric(url, "epalm_queue_bytes")) === 0, "all bytes are released");
    // There is room again, so the body is rejected only because it is not an image.
    assert.equal((await postForm(`${url}/caption`, form(Buffer.alloc(40_000)))).status, 415);
  });
});
