import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import type { Worker } from "node:worker_threads";
import { readAdapter } from "../../../src/index.js";
import { parseServerConfig } from "../../../src/server/config.js";
import { runServer } from "../../../src/server/http/run-server.js";
import { form, postForm, problemIn, type Running, startServer } from "../../support/running-server.js";
import { ADAPTER_FILE, buildTinyModel, picture } from "../../support/tiny-model.js";

/** Every worker thread of this process: Node reports each one that starts. */
const workers: Worker[] = [];
process.on("worker", (worker) => workers.push(worker));

let folder: string;
let images: Buffer[];
before(async () => {
  folder = await buildTinyModel();
  images = await Promise.all(Array.from({ length: 8 }, (_, seed) => picture(seed + 3)));
});

const health = ({ server }: Running, name: string) => {
  const thread = Array.from(server.threads.all).find((one) => one.name === name);
  assert.ok(thread, name);
  return thread;
};

function workerOf(running: Running, name: string): Worker {
  const { threadId } = health(running, name);
  const worker = workers.find((one) => one.threadId === threadId);
  assert.ok(worker, `${name} has no worker ${threadId}`);
  return worker;
}

/**
 * Ends a worker under load. ONNX Runtime aborts the process if its thread is terminated during a run, so these threads
 * get a message that their handler cannot read, which is an uncaught error.
 */
async function end(running: Running, name: string): Promise<void> {
  const worker = workerOf(running, name);
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  if (name === "decoder" || name === "sessions") worker.postMessage(null);
  else await worker.terminate();
  await ended;
}

/** Captions an image that is not cached, with its bytes in JSON that is large enough for the thread of bodies. */
function ask({ url }: Running, count: number, fields: object = {}): Promise<Response> {
  const image = images[count % images.length]?.toString("base64");
  const body = `${JSON.stringify({ image, max_tokens: 4, question: "what?", ...fields })}${" ".repeat(70_000)}`;
  return fetch(`${url}/vqa`, { method: "POST", headers: { "content-type": "application/json" }, body });
}

const settings = () => ({
  models: { tiny: folder },
  logLevel: "info" as const,
  stateCacheBytes: 0,
});

const restarts = async ({ url }: Running, name: string) => {
  const text = await (await fetch(`${url}/metrics`)).text();
  const [, count] = new RegExp(`^epalm_thread_restarts_total\\{thread="${name}"\\} (\\d+)$`, "m").exec(text) ?? [];
  return Number(count);
};

describe("a service whose worker thread ends", () => {
  for (const name of ["bodies", "sessions", "media", "decoder"]) {
    it(`replaces it, and fails only requests in flight with 503: ${name}`, async () => {
      const running = await startServer(settings());
      const { model } = running.models.get("tiny");
      await model.useAdapter("added", await readAdapter(ADAPTER_FILE));
      const expected = await (await ask(running, 0, { adapter: "added" })).json();
      for (const round of [1, 2]) {
        const inFlight = Array.from({ length: 12 }, (_, count) => ask(running, count));
        await new Promise((resolve) => setTimeout(resolve, 15));
        await end(running, name);
        const unready = await problemIn(await fetch(`${running.url}/readyz`), 503);
        assert.deepEqual([unready.code, unready.detail], ["unavailable", `being replaced: the thread ${name}`]);
        assert.equal((await fetch(`${running.url}/healthz`)).status, 200);
        const later = Array.from({ length: 6 }, (_, count) => ask(running, count));
        for (const response of await Promise.all(later)) assert.equal(response.status, 200, await response.text());
        for (const response of await Promise.all(inFlight)) {
          if (response.status === 200) continue;
          assert.ok(Number(response.headers.get("retry-after")) >= 1);
          const { code, detail } = await problemIn(response, 503);
          assert.deepEqual(
            [code, detail],
            ["unavailable", `the ${name} thread ended and is being replaced; try again`],
          );
        }
        assert.equal(await restarts(running, name), round);
        assert.equal((await fetch(`${running.url}/readyz`)).status, 200);
      }
      // Without load, every thread can be terminated.
      await workerOf(running, name).terminate();
      // An adapter that exists only in memory is restored, too, and the answers are the same.
      const again = await (await ask(running, 0, { adapter: "added" })).json();
      assert.deepEqual((again as { texts: unknown }).texts, (expected as { texts: unknown }).texts);
      await running.stop();
    });
  }

  it("sends the problem as an event if a stream has begun", async () => {
    const running = await startServer(settings());
    const fields = { stream: "true", max_tokens: "48", min_tokens: "48", beams: "1" };
    const response = await postForm(`${running.url}/caption`, form(images[0], fields));
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader?.read())?.value ?? "";
    assert.match(text, /^event: text/);
    await end(running, "decoder");
    for (let chunk = await reader?.read(); chunk?.value !== undefined; chunk = await reader?.read())
      text += chunk.value;
    assert.match(text, /event: (problem\ndata: .*"code":"unavailable"|answer\n)/);
    await running.stop();
  });

  it("stops with an error if the thread ends too often", async () => {
    const before = workers.length;
    let address = "";
    const config = parseServerConfig({ ...settings(), port: 0, threads: 1, logLevel: "silent" });
    const never = new AbortController().signal;
    const onReady = (url: string) => {
      address = url;
    };
    const stopped = runServer({ config, version: "0.0.0", signal: never, onReady });
    const failed = assert.rejects(stopped, { code: "internal", message: /thread ended with code \d, after 5 repl/ });
    while (address === "") await new Promise((resolve) => setTimeout(resolve, 20));
    // The last worker that started is one that has not been replaced.
    const last = workers.length - 1;
    assert.ok(last >= before);
    for (let ends = 0; ends <= 5; ends++) {
      const next = workers.length;
      await workers.at(ends === 0 ? last : -1)?.terminate();
      while (ends < 5 && workers.length === next) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await failed;
    await assert.rejects(fetch(`${address}/healthz`));
  });
});
