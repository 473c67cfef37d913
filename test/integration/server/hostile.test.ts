import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { before, describe, it } from "node:test";
import { type Random, randomStreams } from "../../../src/core/random.js";
import { textAnswer } from "../../../src/wire.js";
import { form, postForm, type Running, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/** Number of invalid requests over fetch, in addition to slow and broken ones over sockets. */
const REQUESTS = 2000;
const AT_ONCE = 16;

/** Maximum growth of the resident memory over all requests, for pools and caches that fill once. Bytes. */
const MOST_GROWTH = 200e6;

interface BadRequest {
  readonly what: string;
  readonly path: string;
  readonly init: RequestInit;
}

let running: Running;
let png: Buffer;
before(async () => {
  running = await startServer({
    models: { tiny: await buildTinyModel() },
    logLevel: "silent",
    stateCacheBytes: 0,
    limits: { arrivalSeconds: 2, mediaBytes: 200_000, bodyBytes: 400_000, questionLength: 300 },
  });
  png = await picture();
});

const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;

/** Invalid values of each field. */
const badValues: Readonly<Record<string, readonly unknown[]>> = {
  max_tokens: [0, -1, 1.5, "9", 1e9, null, [], {}, true],
  beams: [0, -3, 2.5, "many", 1e6, null],
  temperature: [-1, "hot", 1e9, null, []],
  top_p: [0, -0.1, 1.1, "x", null],
  top_k: [0, -1, 0.5, "x"],
  seed: [-1, 0.5, "x", 1e30],
  n: [0, -1, "x", 1e6],
  stop: ["x", [1], [""], {}],
  logprobs: ["yes", 1, null],
  stream: ["yes", 2, null],
  adapter: [1, "", "no-such", null, {}],
  model: [1, "", "no-such", null, []],
  question: [1, "", [], [1], {}, null, "?".repeat(10), "x".repeat(1000)],
  candidates: [[], [1], "x", {}, [""]],
  rank_by: ["x", 1, null],
  no_such_field: [1, "x"],
  __proto: [{}],
};

const json = (body: unknown, type = "application/json"): RequestInit => ({
  method: "POST",
  headers: { "content-type": type },
  body: typeof body === "string" ? body : JSON.stringify(body),
});

const makers: Readonly<Record<string, (random: Random) => Omit<BadRequest, "what">>> = {
  "an invalid value": (random) => {
    const field = pick(random, Object.keys(badValues));
    const value = pick(random, badValues[field] ?? []);
    const base = { image: png.toString("base64"), question: "what is it" };
    return { path: "/vqa", init: json({ ...base, [field]: value }) };
  },
  "invalid JSON": (random) => {
    const text = JSON.stringify({ image: png.toString("base64") });
    return { path: "/caption", init: json(text.slice(0, 1 + Math.floor(random() * (text.length - 2)))) };
  },
  "a body that is not an object": (random) => ({
    path: pick(random, ["/caption", "/vqa", "/v1/chat/completions"]),
    init: json(pick(random, ["[]", "1", '"x"', "null", "true", ""])),
  }),
  "no medium": (random) => ({
    path: pick(random, ["/caption", "/vqa"]),
    init: json(pick(random, [{}, { question: "what is it" }, { audio: "AAAA" }, { video: "AAAA" }])),
  }),
  "an invalid medium": (random) => ({
    path: "/caption",
    init: json({
      image: pick(random, [
        "",
        "!!!",
        "AAAA",
        "data:image/png;base64,",
        "data:text/plain,hello",
        "http://127.0.0.1/x.png",
        "https://127.0.0.1/x.png",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://x/y",
      ]),
    }),
  }),
  "a truncated image": (random) => {
    const end = 9 + Math.floor(random() * (png.length - 40));
    return { path: "/caption", init: { method: "POST", body: form(png.subarray(0, end)) } };
  },
  "an image with changed bytes": (random) => {
    const broken = Buffer.from(png);
    // Changes bytes of the header, so that its checksum is wrong.
    for (let i = 0; i < 4; i++) broken[12 + Math.floor(random() * 17)] = Math.floor(random() * 256);
    broken[16] = 0x7f;
    return { path: "/caption", init: { method: "POST", body: form(broken) } };
  },
  "huge declared dimensions": (random) => {
    const side = 20_000 + Math.floor(random() * 60_000);
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${side}" height="${side}"/>`;
    return { path: "/caption", init: { method: "POST", body: form(Buffer.from(svg)) } };
  },
  "too many bytes": (random) => {
    const bytes = Buffer.alloc(200_001 + Math.floor(random() * 100_000), 1);
    return { path: "/caption", init: { method: "POST", body: form(bytes) } };
  },
  "another content type": (random) => ({
    path: "/caption",
    init: {
      method: "POST",
      headers: {
        "content-type": pick(random, ["text/plain", "application/xml", "model/stl", "x", "multipart/mixed"]),
      },
      body: new Uint8Array(png),
    },
  }),
  "an incomplete multipart form": (random) => {
    const boundary = "----x";
    const whole = `--${boundary}\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc\r\n--${boundary}--\r\n`;
    const body = whole.slice(0, Math.floor(random() * (whole.length - 8)));
    const type = pick(random, [
      `multipart/form-data; boundary=${boundary}`,
      "multipart/form-data",
      "multipart/form-data; boundary=y",
    ]);
    return { path: "/caption", init: { method: "POST", headers: { "content-type": type }, body } };
  },
  "a form with invalid parts": (random) => {
    const data = form(png, pick(random, [{ beams: "x" }, { nope: "1" }, { max_tokens: ["1", "2"] }, { top_p: "7" }]));
    if (random() < 0.3) data.append("image", new Blob([new Uint8Array(png)]), "again.png");
    if (random() < 0.3) data.append("other", new Blob([new Uint8Array(png)]), "other.png");
    return { path: "/caption", init: { method: "POST", body: data } };
  },
  "an unsupported method": (random) => ({
    path: pick(random, ["/caption", "/vqa", "/v1/chat/completions", "/nope", "/caption/../x", "/%00", "/v1/models/x"]),
    init: { method: pick(random, ["GET", "PUT", "DELETE", "PATCH"]) },
  }),
  "an invalid chat request": (random) => ({
    path: "/v1/chat/completions",
    init: json(
      pick(random, [
        {},
        { messages: [] },
        { model: "tiny", messages: [{ role: "user", content: "no picture" }] },
        { model: "nope", messages: [{ role: "user", content: "x" }] },
        { model: "tiny", messages: "x" },
        { model: "tiny", messages: [{ role: "wizard", content: "x" }] },
        {
          model: "tiny",
          messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }],
        },
        { model: "tiny", messages: [{ role: "user", content: [{ type: "nope" }] }] },
      ]),
    ),
  }),
};

async function send({ what, path, init }: BadRequest): Promise<string | undefined> {
  const response = await fetch(running.url + path, init);
  const text = await response.text();
  const isProblem = /^application\/problem\+json/.test(response.headers.get("content-type") ?? "");
  if (response.status >= 400 && response.status < 500 && isProblem) {
    const { status, code, detail } = JSON.parse(text) as { status: number; code: string; detail: string };
    if (status === response.status && code && detail && !/\bat .*\.js:\d+/.test(detail)) return undefined;
  }
  return `${what}: ${init.method} ${path}: ${response.status}: ${text.slice(0, 200)}`;
}

/** Sends bytes, then nothing more. Resolves to the status of the response, or 0 if there is none. */
async function rawStatus(bytes: string): Promise<number> {
  const { hostname, port } = new URL(running.url);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk));
  socket.on("error", () => undefined);
  socket.write(bytes);
  await once(socket, "close");
  return Number(/^HTTP\/1\.1 (\d+)/.exec(Buffer.concat(chunks).toString("latin1"))?.[1] ?? 0);
}

async function answersRightly(): Promise<void> {
  const response = await postForm(`${running.url}/caption`, form(png, { max_tokens: "5" }));
  assert.equal(response.status, 200);
  const { text } = textAnswer.parse(await response.json());
  const expected = await running.models.get("tiny").model.caption(png, { maxNewTokens: 5 });
  assert.equal(text, expected.text);
}

describe("invalid requests", () => {
  it(`are answered with 4xx problems without a growth of memory: ${REQUESTS} requests`, async () => {
    const [random = Math.random] = randomStreams(1, 1);
    const names = Object.keys(makers);
    const requests = Array.from({ length: REQUESTS }, (_, index): BadRequest => {
      const what = names[index % names.length] as string;
      return { what, ...(makers[what] as (random: Random) => Omit<BadRequest, "what">)(random) };
    });
    await answersRightly();
    const before = process.memoryUsage.rss();
    const wrong: string[] = [];
    const queue = requests.values();
    const client = async () => {
      for (const request of queue) {
        const failure = await send(request);
        if (failure !== undefined) wrong.push(failure);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, client));
    assert.deepEqual(wrong.slice(0, 10), []);
    assert.ok(process.memoryUsage.rss() - before < MOST_GROWTH);
    await answersRightly();
  });

  it("with rejected bodies block neither the next request on the connection nor the shutdown", async () => {
    const own = await startServer({ models: {}, logLevel: "silent", limits: { mediaBytes: 50_000 } });
    const { hostname, port } = new URL(own.url);
    const socket = connect(Number(port), hostname);
    let answers = "";
    socket.setEncoding("utf8").on("data", (text) => {
      answers += text;
    });
    const head = '--x\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n';
    const body = `${head}${"y".repeat(3_000_000)}\r\n--x--`;
    const type = "content-type: multipart/form-data; boundary=x";
    socket.write(
      `POST /caption HTTP/1.1\r\nhost: x\r\n${type}\r\ncontent-length: ${body.length}\r\n\r\n${body}` +
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    while (!answers.includes('"alive"')) await once(socket, "data");
    assert.match(answers, /^HTTP\/1\.1 413 .*image: expected at most 50000 bytes.*HTTP\/1\.1 200/s);
    const silent = connect(Number(port), hostname);
    await once(silent, "connect");
    const stopping = performance.now();
    await own.stop();
    assert.ok(performance.now() - stopping < 10_000, "silent connections delay the shutdown");
    for (const open of [socket, silent]) open.destroy();
  });

  it("that are slow or not HTTP are answered and closed in time", async () => {
    const slow = "POST /caption HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    const statuses = await Promise.all([
      ...Array.from({ length: 20 }, () => rawStatus(slow)),
      rawStatus("nonsense\r\n\r\n"),
      rawStatus("GET / HTTP/9.9\r\n\r\n"),
      rawStatus(`GET / HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(100_000)}\r\n\r\n`),
    ]);
    for (const status of statuses) assert.ok(status >= 400 && status < 500, `got ${statuses}`);
    await answersRightly();
  });
});
