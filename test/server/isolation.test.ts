import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { textAnswer } from "../../src/wire.js";
import { form, postForm, postJson, problemIn, type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

let running: Running;
let png: Buffer;
const sockets: Socket[] = [];
before(async () => {
  running = await startServer({ models: { tiny: await buildTinyModel() }, logLevel: "silent" });
  png = await picture();
});
after(() => {
  for (const socket of sockets) socket.destroy();
});

/** Sends the head of a request and `sent` bytes of its body, and then nothing. */
function slowUpload(url: string, sent = 1, type = "application/json", headers = ""): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  sockets.push(socket);
  socket.on("error", () => undefined);
  const head = `POST /caption HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: 40000\r\n${headers}\r\n`;
  socket.write(head + "x".repeat(sent));
  return socket;
}

/** Asks from another loopback address, which Linux permits without configuration. */
async function askFrom(localAddress: string, url: string): Promise<{ readonly status: number; readonly body: string }> {
  const body = JSON.stringify({ image: png.toString("base64"), max_tokens: 3 });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const sent = request(`${url}/caption`, { method: "POST", localAddress, headers });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode ?? 0, body: text };
}

async function metric(url: string, name: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1]);
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 15_000;
  while (!(await isSo())) {
    assert.ok(performance.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const skip = process.platform !== "linux" && "only Linux has several loopback addresses by default";

describe("300 slow uploads from one address", { skip }, () => {
  it("leave places for other addresses, and do not make the service unready", async () => {
    const { url } = await startServer({ models: {}, logLevel: "silent" }, running.models);
    const slow = Array.from({ length: 300 }, () => slowUpload(url));
    await Promise.all(slow.map((socket) => once(socket, "connect")));
    await until(async () => (await metric(url, "epalm_queue_arriving")) > 190, "uploads are arriving");
    const started = performance.now();
    for (let at = 0; at < 10; at++) {
      const { status, body } = await askFrom("127.0.0.2", url);
      assert.equal(status, 200, body);
    }
    assert.ok(performance.now() - started < 5000, "answers are not delayed");
    for (const path of ["/readyz", "/healthz"]) assert.equal((await fetch(url + path)).status, 200, path);
    const refused = await askFrom("127.0.0.1", url);
    assert.equal(refused.status, 503);
    assert.match(refused.body, /this client holds \d+ of 256 arriving requests/);
    for (const socket of slow) socket.destroy();
    await until(async () => (await metric(url, "epalm_queue_arriving")) === 0, "their places are free again");
  });
});

describe("clients with keys", () => {
  it("have separate shares, although they use the same address", async () => {
    const keys = { one: "0123456789abcdef-one", two: "0123456789abcdef-two" };
    const settings = { models: {}, keys, openMetrics: true, logLevel: "silent", queue: { arriving: 8 } } as const;
    const { url } = await startServer(settings, running.models);
    const slow = Array.from({ length: 12 }, () =>
      slowUpload(url, 1, "application/json", `authorization: Bearer ${keys.one}\r\n`),
    );
    await until(async () => (await metric(url, "epalm_queue_arriving")) === 7, "one client has its share");
    const ask = (key: string) =>
      postForm(`${url}/caption`, form(png, { max_tokens: "3" }), { headers: { authorization: `Bearer ${key}` } });
    await problemIn(await ask(keys.one), 503);
    assert.equal((await ask(keys.two)).status, 200);
    for (const socket of slow) socket.destroy();
  });
});

describe("bodies that arrive too slowly", () => {
  for (const type of ["application/json", "multipart/form-data; boundary=b"]) {
    it(`get 408 after the grace time: ${type}`, async () => {
      const limits = { arrivalGraceSeconds: 0.5, arrivalBytesPerSecond: 1000 };
      const { url, log } = await startServer({ models: {}, logLevel: "error", limits }, running.models);
      const socket = slowUpload(url, 20, type);
      let answer = "";
      socket.on("data", (chunk) => {
        answer += String(chunk);
      });
      await once(socket, "close");
      assert.match(answer, /^HTTP\/1\.1 408 /);
      assert.match(answer, /connection: close/i);
      assert.match(answer, /"code":"slow_request".*|after 0\.5 s/);
      assert.equal(await metric(url, "epalm_queue_arriving"), 0);
      assert.deepEqual(log, [], "a slow client is not an error of the service");
    });
  }

  it("are accepted if they keep the rate", async () => {
    const limits = { arrivalGraceSeconds: 0.2, arrivalBytesPerSecond: 10 };
    const { url } = await startServer({ models: {}, logLevel: "silent", limits }, running.models);
    const body = JSON.stringify({ image: png.toString("base64"), max_tokens: 3 });
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const sent = request(`${url}/caption`, { method: "POST", headers });
    const half = Math.floor(body.length / 2);
    sent.write(body.slice(0, half));
    setTimeout(() => sent.end(body.slice(half)), 1500);
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    response.resume();
    assert.equal(response.statusCode, 200);
  });
});

describe("open connections", () => {
  it("are limited per address", { skip }, async () => {
    const { url } = await startServer({ models: {}, logLevel: "silent", queue: { connections: 3 } }, running.models);
    const open = Array.from({ length: 3 }, () => slowUpload(url));
    await Promise.all(open.map((socket) => once(socket, "connect")));
    await assert.rejects(fetch(`${url}/healthz`));
    assert.equal((await askFrom("127.0.0.2", url)).status, 200);
    open[0]?.destroy();
    await until(
      () =>
        fetch(`${url}/healthz`).then(
          () => true,
          () => false,
        ),
      "a closed connection makes room",
    );
  });
});

describe("the cost of a request", () => {
  const image = () => png.toString("base64");
  const questions = Array.from({ length: 16 }, (_, index) => `what is ${index}?`);

  it("is limited, and the message names the fields and the limit", async () => {
    const ask = (fields: object) => postJson(`${running.url}/vqa`, { image: image(), question: questions, ...fields });
    const { code, field, detail } = await problemIn(await ask({ beams: 16, max_tokens: 100 }), 413);
    assert.deepEqual([code, field], ["too_large", "max_tokens"]);
    assert.match(
      detail,
      /costs 256\d\d tokens, and at most 16384 are permitted.* 16 \(beams or n\) times 100 .*questions is 16$/,
    );
    const candidates = Array.from({ length: 100 }, () => "a rather long candidate answer that has many words in it");
    assert.match((await problemIn(await ask({ candidates }), 413)).detail, /^candidates: the request costs/);
  });

  it("admits 16 questions with 3 beams and 30 tokens", async () => {
    const fields = { question: questions, beams: 3, max_tokens: 30 };
    const response = await postJson(`${running.url}/vqa`, { image: image(), ...fields });
    assert.equal(response.status, 200, await response.clone().text());
  });

  it("can be configured", async () => {
    const { url } = await startServer({ models: {}, logLevel: "silent", limits: { requestCost: 20 } }, running.models);
    const caption = (fields: object) => postJson(`${url}/caption`, { image: image(), ...fields });
    assert.match(
      (await problemIn(await caption({ beams: 1, max_tokens: 30 }), 413)).detail,
      /costs 30 tokens, and at most 20/,
    );
    assert.ok(textAnswer.parse(await (await caption({ beams: 1, max_tokens: 20 })).json()));
  });
});
