import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { randomStreams } from "../../../src/core/random.js";
import { problem } from "../../../src/wire.js";
import { form, postForm, type Running, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/** Bytes of the largest response to an invalid request. */
const MOST_BYTES = 64 * 1024;

let running: Running;
before(async () => {
  running = await startServer({
    models: { tiny: await buildTinyModel() },
    logLevel: "trace",
    limits: { arrivalSeconds: 2 },
  });
});

after(() => {
  const failures = running.log.filter(({ level }) => Number(level) >= 50);
  assert.deepEqual(failures, [], "errors of clients are logged as errors");
});

interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** Sends bytes over a socket and returns the first response; undefined if the connection closes without one. */
async function raw(bytes: string | Buffer, half = true): Promise<RawAnswer | undefined> {
  const { hostname, port } = new URL(running.url);
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => undefined);
  socket.on("end", () => socket.destroy());
  if (half) socket.end(bytes);
  else socket.write(bytes);
  await once(socket, "close");
  const text = Buffer.concat(chunks).toString("latin1");
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const [, status] = /^HTTP\/1\.1 (\d+)/.exec(head) ?? [];
  return status === undefined ? undefined : { status: Number(status), head, body: rest.join("\r\n\r\n") };
}

/** The problem in a response, which must be that of the client and of limited size. */
function expectProblem(answer: RawAnswer | undefined, what: string): number {
  assert.ok(answer, `${what}: no response`);
  const { status, head, body } = answer;
  assert.ok(status >= 400 && status < 500, `${what}: ${status}`);
  assert.match(head, /^content-type: application\/problem\+json/im, `${what}: ${head}`);
  assert.match(head, /^x-content-type-options: nosniff/im, what);
  assert.ok(head.length + body.length < MOST_BYTES, `${what}: ${body.length} bytes`);
  const [json = ""] = /\{.*\}/s.exec(body) ?? [];
  assert.equal(problem.parse(JSON.parse(json)).status, status, what);
  return status;
}

const CLOSE = "connection: close\r\n";
const requests: Readonly<Record<string, readonly [bytes: string, status: number]>> = {
  "a path out of the documentation": [
    `GET /docs/static/%2e%2e/%2e%2e/package.json HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`,
    404,
  ],
  "a path with a null byte": [`GET /docs/static/%00 HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 404],
  "an invalid escape": [`GET /%zz HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 400],
  "an invalid escape under /docs": [`GET /docs/static/%zz HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 400],
  "an invalid escape under /v1": [`GET /v1/%c0 HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 400],
  "a long parameter": [`GET /samples/${"a".repeat(500)}/x HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 413],
  "an unknown expectation": [`POST /caption HTTP/1.1\r\nhost: x\r\nexpect: tea\r\n${CLOSE}\r\n`, 417],
  "no host": [`GET /healthz HTTP/1.1\r\n${CLOSE}\r\n`, 400],
  "no host and an unknown path": [`GET /nothing HTTP/1.1\r\n${CLOSE}\r\n`, 400],
  "no HTTP": ["nonsense\r\n\r\n", 400],
  "HTTP/2": ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
  "an unknown version": ["GET / HTTP/9.9\r\nhost: x\r\n\r\n", 400],
  "an invalid header": ["GET / HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n", 400],
  "large headers": [`GET / HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(100_000)}\r\n\r\n`, 431],
  "a large path": [`GET /${"y".repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431],
  "two lengths": ["POST /caption HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400],
  "a length and chunks": [
    "POST /caption HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
    400,
  ],
  "invalid chunks": [
    "POST /caption HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    400,
  ],
  "large chunk extensions": [
    `POST /caption HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1;${"a".repeat(20_000)}\r\n{\r\n`,
    413,
  ],
  "a request of a proxy": ["CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", 405],
  "an unsupported method": [`PROPFIND /caption HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 405],
  "another unsupported method": [`TRACE / HTTP/1.1\r\nhost: x\r\n${CLOSE}\r\n`, 405],
  "a missing content type": [`POST /caption HTTP/1.1\r\nhost: x\r\n${CLOSE}content-length: 2\r\n\r\nab`, 415],
  "a form without a boundary": [
    `POST /caption HTTP/1.1\r\nhost: x\r\n${CLOSE}content-type: multipart/form-data\r\ncontent-length: 2\r\n\r\nab`,
    400,
  ],
  "an upgrade": [`GET /caption HTTP/1.1\r\nhost: x\r\n${CLOSE}upgrade: websocket\r\n\r\n`, 405],
};

describe("a client error", () => {
  for (const [what, [bytes, status]] of Object.entries(requests)) {
    it(`is answered with a problem: ${what}`, async () => {
      assert.equal(expectProblem(await raw(bytes, false), what), status);
    });
  }

  it("in a pipelined request does not corrupt the response before it", async () => {
    const answer = await raw("GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n", false);
    assert.ok(answer === undefined || answer.status === 200 || answer.status === 400);
  });

  it("of any kind is a problem: 600 mutated requests", async () => {
    const [random = Math.random] = randomStreams(25, 1);
    const below = (most: number) => Math.floor(random() * most);
    const seeds = Object.values(requests).map(([bytes]) => bytes.replace(/y{1000,}/, "y".repeat(50)));
    const mutate = (text: string) => {
      const bytes = Buffer.from(text, "latin1");
      for (let i = 0; i <= below(4); i++) bytes[below(bytes.length)] = below(256);
      return bytes.subarray(0, random() < 0.3 ? below(bytes.length) : bytes.length);
    };
    const all = Array.from({ length: 600 }, () => mutate(seeds[below(seeds.length)] ?? ""));
    const queue = all.values();
    const client = async () => {
      for (const bytes of queue) {
        const answer = await raw(bytes);
        const what = JSON.stringify(bytes.toString("latin1").slice(0, 200));
        if (answer && answer.status >= 400) {
          if (/^HEAD/.test(bytes.toString("latin1"))) continue;
          expectProblem(answer, what);
        }
      }
    };
    await Promise.all(Array.from({ length: 16 }, client));
  });

  it("is not echoed: names and values of several megabytes", async () => {
    const long = "n".repeat(2_000_000);
    const bodies: readonly string[] = [
      JSON.stringify({ [long]: 1 }),
      JSON.stringify(Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`${i}${"k".repeat(60)}`, i]))),
      JSON.stringify({ image: `https://${long}.org/` }),
      JSON.stringify({ image: `data:${long};base64,` }),
      JSON.stringify({ image: "AAAA", model: long }),
      JSON.stringify({ image: "AAAA", adapter: long, stop: [long] }),
      JSON.stringify({ messages: [{ role: long, content: [{ type: long }] }], [long]: 1 }),
      JSON.stringify({ messages: [{ role: "user", content: [{ type: "image_url", image_url: { [long]: 1 } }] }] }),
      `{"${long}`,
      `{"image": ${long}`,
      `${"[".repeat(90_000)}`,
      JSON.stringify({ image: "AAAA", max_tokens: Number.MAX_VALUE }),
    ];
    for (const body of bodies) {
      for (const path of ["/caption", "/vqa", "/v1/chat/completions"]) {
        const head = `POST ${path} HTTP/1.1\r\nhost: x\r\n${CLOSE}content-type: application/json\r\n`;
        const answer = await raw(`${head}content-length: ${body.length}\r\n\r\n${body}`, false);
        expectProblem(answer, `${path} ${body.slice(0, 60)}`);
        assert.ok((answer?.body.length ?? 0) < 8000, `${answer?.body.length} bytes`);
      }
    }
    const png = await picture();
    const response = await postForm(`${running.url}/caption`, form(png, { [long.slice(0, 60_000)]: "x" }));
    assert.ok((await response.text()).length < 8000);
    assert.ok(JSON.stringify(running.log).length < 20_000_000);
  });

  it("that aborts its upload is not logged as an error", async () => {
    const { hostname, port } = new URL(running.url);
    const json = "content-type: application/json\r\ncontent-length: 100000\r\n\r\n{";
    const multipart = "content-type: multipart/form-data; boundary=x\r\ncontent-length: 100000\r\n\r\n";
    const part = '--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\nabc';
    const chunked = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab";
    for (const body of [json, multipart, multipart + part, chunked]) {
      for (const end of ["destroy", "resetAndDestroy"] as const) {
        const socket = connect(Number(port), hostname);
        socket.on("error", () => undefined);
        socket.write(`POST /caption HTTP/1.1\r\nhost: x\r\n${body}`);
        await pause(50);
        socket[end]();
      }
    }
    const png = await picture(3, 600, 400);
    for (const stream of ["true", "false"]) {
      const controller = new AbortController();
      const sent = postForm(`${running.url}/caption`, form(png, { stream, max_tokens: "60" }), {
        signal: controller.signal,
      });
      setTimeout(() => controller.abort(), 30);
      await sent.then((response) => response.text()).catch(() => undefined);
    }
    await pause(300);
    assert.deepEqual(
      running.log.filter(({ level }) => Number(level) >= 40),
      [],
    );
    const metrics = await (await fetch(`${running.url}/metrics`)).text();
    assert.match(metrics, /^epalm_queue_arriving 0$/m);
    assert.match(metrics, /^epalm_queue_bytes 0$/m);
  });
});
