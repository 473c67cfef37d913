import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test } from "node:test";
import {
  EpalmApiError,
  EpalmClient,
  EpalmConnectionError,
  EpalmError,
  EpalmTimeoutError,
} from "../../src/sdk/index.js";
import { piecesOf } from "../support/pieces-of.js";
import {
  answers,
  eventText,
  hangs,
  refuses,
  resets,
  type Step,
  says,
  scripted,
  streams,
  wholeAnswer,
} from "./scripted-server.js";

const picture = new Uint8Array([1, 2, 3]);

async function client(...steps: Step[]) {
  const server = await scripted(...steps);
  return { ...server, client: new EpalmClient({ baseUrl: server.url }) };
}

function waitBefore(received: readonly { readonly at: number }[], attempt: number): number {
  return (received[attempt]?.at ?? 0) - (received[attempt - 1]?.at ?? 0);
}

for (const status of [429, 502, 503, 504]) {
  test(`sends the same request again after status ${status}`, async () => {
    const { client: epalm, received } = await client(refuses(status, "overloaded"), answers());
    assert.equal((await epalm.caption(picture)).text, "a cat");
    assert.equal(received.length, 2);
    const [first, second] = received.map(({ body }) => body.replace(/epalm-\w+/g, "boundary"));
    assert.equal(first, second);
    assert.ok(waitBefore(received, 1) >= 120);
  });
}

test("waits as long as Retry-After demands, in seconds or as a date", async () => {
  // A date has whole seconds, so that at least 1 s of the 2 s remains.
  const date = new Date(Date.now() + 2000).toUTCString();
  const { client: epalm, received } = await client(refuses(503, "overloaded", { "retry-after": "1" }), answers());
  const dated = await client(refuses(503, "overloaded", { "retry-after": date }), answers());
  await Promise.all([epalm.caption(picture), dated.client.caption(picture)]);
  assert.ok(waitBefore(received, 1) >= 1000);
  assert.ok(waitBefore(dated.received, 1) >= 500);
});

test("rejects immediately if the wait would exceed the timeout", async () => {
  const { client: epalm, received } = await client(refuses(503, "overloaded", { "retry-after": "30" }));
  const started = performance.now();
  await assert.rejects(epalm.caption(picture, { timeout: 5000 }), { status: 503, retryAfter: 30 });
  assert.ok(performance.now() - started < 2500);
  assert.equal(received.length, 1);
});

test("retries a reset connection as often as configured, then rejects", async () => {
  const { client: epalm, received } = await client(resets, answers());
  assert.equal((await epalm.caption(picture)).text, "a cat");
  assert.equal(received.length, 2);
  const dead = await scripted(resets);
  const patient = new EpalmClient({ baseUrl: dead.url, retries: 1 });
  await assert.rejects(patient.caption(picture), (error) => {
    assert.ok(error instanceof EpalmConnectionError);
    assert.equal(error.code, "connection_failed");
    return true;
  });
  assert.equal(dead.received.length, 2);
});

test("reports a connection error if nothing listens", async () => {
  const closed = createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as AddressInfo;
  closed.close();
  await once(closed, "close");
  const nobody = new EpalmClient({ baseUrl: `http://127.0.0.1:${port}`, retries: 0 });
  await assert.rejects(nobody.caption(picture), EpalmConnectionError);
  await assert.rejects(nobody.health(), EpalmConnectionError);
});

test("sends the request again if the response breaks off", async () => {
  const half: Step = (response, request) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
    response.write('{"text":', () => setTimeout(() => request.socket.destroy(), 20));
  };
  const { client: epalm, received } = await client(half, answers());
  assert.equal((await epalm.caption(picture)).text, "a cat");
  assert.equal(received.length, 2);
});

test("sends a one-shot stream again completely", async () => {
  const { client: epalm, received } = await client(refuses(503, "overloaded"), answers());
  async function* bytes() {
    yield new TextEncoder().encode("first ");
    yield new TextEncoder().encode("second");
  }
  await epalm.caption(bytes());
  assert.equal(received.filter(({ body }) => body.includes("first second")).length, 2);
});

for (const status of [400, 401, 404, 408, 413, 422, 500]) {
  test(`does not retry after status ${status}`, async () => {
    const { client: epalm, received } = await client(refuses(status, "invalid_option"), answers());
    await assert.rejects(epalm.caption(picture), { status, code: "invalid_option", requestId: "id-1" });
    assert.equal(received.length, 1);
  });
}

test("rejects after the timeout and closes the connection if the service hangs", async () => {
  const { client: epalm, left } = await client(hangs);
  const started = performance.now();
  await assert.rejects(epalm.caption(picture, { timeout: 200 }), (error) => {
    assert.ok(error instanceof EpalmTimeoutError);
    assert.deepEqual([error.code, error.timeout], ["deadline_exceeded", 200]);
    return true;
  });
  assert.ok(performance.now() - started < 1500);
  await left;
});

test("bounds all attempts and pauses by the timeout", async () => {
  const { client: epalm, received } = await client(refuses(503, "overloaded"));
  const started = performance.now();
  const stubborn = epalm.caption(picture, { timeout: 600 });
  await assert.rejects(stubborn, { status: 503 });
  assert.ok(performance.now() - started < 1500);
  assert.ok(received.length >= 2);
});

test("cancels a call before it starts, while it runs and while it pauses", async () => {
  const { client: epalm, received, left } = await client(hangs);
  const gone = AbortSignal.abort(new TypeError("why"));
  await assert.rejects(epalm.caption(picture, { signal: gone }), (error) => {
    assert.ok(error instanceof EpalmError);
    assert.deepEqual([error.name, error.code, error.status], ["AbortError", "aborted", 499]);
    assert.equal((error.cause as Error).message, "why");
    return true;
  });
  assert.equal(received.length, 0);
  const cancelled = { name: "AbortError", code: "aborted", message: "the call was cancelled" };
  await assert.rejects(epalm.caption(picture, { signal: AbortSignal.timeout(50) }), cancelled);
  await left;
  const busy = await client(refuses(503, "overloaded", { "retry-after": "20" }));
  const started = performance.now();
  const pausing = busy.client.caption(picture, { signal: AbortSignal.timeout(300) });
  await assert.rejects(pausing, cancelled);
  assert.ok(performance.now() - started < 2000);
});

test("sends the request again if a stream breaks before its first event", async () => {
  const whole = [eventText("text", { index: 0, text: "a cat" }), eventText("answer", wholeAnswer)];
  for (const first of [resets, refuses(503, "overloaded"), streams([]), streams(["event: te"], "breaks")]) {
    const { client: epalm, received } = await client(first, streams(whole));
    const stream = epalm.streamCaption(picture);
    assert.deepEqual(await piecesOf(stream), ["a cat"]);
    assert.equal((await stream.answer()).usage.newTokens, 3);
    assert.equal(received.length, 2);
  }
});

for (const end of ["ends", "breaks"] as const) {
  test(`rejects without a retry if a stream ${end} after its first piece`, async () => {
    const half = [eventText("text", { index: 0, text: "a" }), "event: text\ndata: {"];
    const { client: epalm, received } = await client(streams(half, end));
    const stream = epalm.streamCaption(picture);
    const pieces: string[] = [];
    const loop = async () => {
      for await (const piece of stream) pieces.push(piece);
    };
    await assert.rejects(loop(), EpalmConnectionError);
    assert.deepEqual(pieces, ["a"]);
    await assert.rejects(stream.answer(), EpalmConnectionError);
    assert.equal(received.length, 1);
    const seen: string[] = [];
    const called = epalm.caption(picture, { onText: (piece) => seen.push(piece) });
    await assert.rejects(called, EpalmConnectionError);
    assert.deepEqual([seen, received.length], [["a"], 2]);
  });
}

test("does not retry after a problem in the middle of a stream", async () => {
  const problem = {
    type: "t",
    title: "t",
    status: 503,
    detail: "ends",
    instance: "id-2",
    code: "overloaded",
  };
  const { client: epalm, received } = await client(
    streams([eventText("text", { index: 0, text: "a" }), eventText("problem", problem)]),
  );
  const stream = epalm.streamCaption(picture);
  await assert.rejects(piecesOf(stream), { name: "EpalmApiError", status: 503, requestId: "id-2" });
  assert.equal(received.length, 1);
});

test("yields the pieces of a stream that hangs, then rejects after the timeout", async () => {
  const { client: epalm, left } = await client(streams([eventText("text", { index: 0, text: "a" })], "hangs"));
  const pieces: string[] = [];
  const loop = async () => {
    for await (const piece of epalm.streamCaption(picture, { timeout: 300 })) pieces.push(piece);
  };
  await assert.rejects(loop(), EpalmTimeoutError);
  assert.deepEqual(pieces, ["a"]);
  await left;
});

test("closes the connection when a stream is left, cancelled or aborted", async () => {
  const open = () => client(streams([eventText("text", { index: 0, text: "a" })], "hangs"));
  const left = await open();
  const stream = left.client.streamCaption(picture);
  for await (const _ of stream) break;
  await left.left;
  const abortError = { name: "AbortError", code: "aborted" };
  await assert.rejects(stream.answer(), abortError);

  const cancelled = await open();
  const other = cancelled.client.streamCaption(picture);
  const waiting = other.answer();
  setTimeout(() => void other.cancel(), 100);
  await assert.rejects(waiting, abortError);
  await cancelled.left;

  const aborted = await open();
  const signal = AbortSignal.timeout(100);
  await assert.rejects(piecesOf(aborted.client.streamCaption(picture, { signal })), abortError);
  await aborted.left;
});

test("reports malformed problems by their status, with the beginning of the body", async () => {
  const cases: [Step, number, string, RegExp][] = [
    [says(413, "<html>too  big</html>"), 413, "too_large", /^HTTP status 413: <html>too big/],
    [says(500, '{"detail": 1}', { "x-request-id": "r" }), 500, "internal", /500/],
    [says(418, ""), 418, "invalid_option", /^HTTP status 418$/],
    [refuses(400, "unheard_of"), 400, "invalid_option", /^not now$/],
    [says(404, "x".repeat(10_000)), 404, "not_found", /^.{1,300}$/],
  ];
  for (const [step, status, code, message] of cases) {
    const { client: epalm } = await client(step);
    await assert.rejects(epalm.caption(picture), (error) => {
      assert.ok(error instanceof EpalmApiError);
      assert.deepEqual([error.status, error.code], [status, code]);
      assert.match(error.message, message);
      return true;
    });
  }
});

test("rejects without a retry if the response is not from an epalm service", async () => {
  const steps = [says(200, "<html>"), answers({ hello: 1 }), says(308, "", { location: "/elsewhere" })];
  for (const step of steps) {
    const { client: epalm, received } = await client(step);
    await assert.rejects(epalm.caption(picture), { name: "EpalmConnectionError", isTransient: false });
    await assert.rejects(piecesOf(epalm.streamCaption(picture)), EpalmConnectionError);
    await assert.rejects(epalm.models(), EpalmConnectionError);
    assert.equal(received.length, 3);
  }
});

test("uses a custom fetch, even if it ignores signals", async () => {
  const asked: string[] = [];
  const epalm = new EpalmClient({
    baseUrl: "https://example.org/epalm/",
    apiKey: "k",
    fetch: async (url, { headers }) => {
      asked.push(`${url} ${new Headers(headers).get("authorization")}`);
      return asked.length > 1 ? new Promise<never>(() => undefined) : Response.json(wholeAnswer);
    },
  });
  assert.equal((await epalm.caption(picture)).text, "a cat");
  assert.deepEqual(asked, ["https://example.org/epalm/caption Bearer k"]);
  await assert.rejects(epalm.caption(picture, { timeout: 100 }), EpalmTimeoutError);
});
