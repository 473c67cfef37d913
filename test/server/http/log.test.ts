import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { before, describe, it } from "node:test";
import type { ServerSettings } from "../../../src/server/config.js";
import { form, postForm, type Running, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/** Part of every string that a client chooses. */
const MARKER = "Marker7f3a";
const KEY = `${MARKER}-key-of-the-log-tests`;

let model: string;
let png: Buffer;
before(async () => {
  model = await buildTinyModel();
  png = await picture();
});

/** Headers with markers in their names and values. */
const headers = {
  authorization: `Bearer ${KEY}`,
  "x-api-key": MARKER,
  cookie: `a=${MARKER}`,
  "user-agent": MARKER,
  referer: `http://${MARKER}/`,
  origin: `http://${MARKER}`,
  accept: `text/${MARKER}`,
  "x-forwarded-for": MARKER,
  "x-forwarded-host": MARKER,
  "x-request-id": `${MARKER} has a space and is therefore replaced`,
  [`x-${MARKER}`]: "1",
};

async function send(url: string, path: string, body?: string | object, more: Record<string, string> = {}) {
  const type = body instanceof FormData ? {} : { "content-type": "application/json" };
  const sent = typeof body === "string" || body instanceof FormData ? body : JSON.stringify(body);
  const init: RequestInit = sent === undefined ? {} : { method: "POST", body: sent };
  const response = await fetch(url + path, { ...init, headers: { ...headers, ...type, ...more } });
  await response.arrayBuffer();
}

/** Sends bytes and closes the connection after the response, or after a moment if there is none. */
async function sendRaw(url: string, text: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.setTimeout(100, () => socket.destroy()).resume();
  socket.end(text);
  await once(socket, "close");
}

async function sendEverywhere({ url }: Running): Promise<void> {
  const image = png.toString("base64");
  const question = `${MARKER}?`;
  await send(url, `/vqa?q=${MARKER}`, { image, question, max_tokens: 3 });
  await send(url, "/vqa", { image, question, candidates: [MARKER, `${MARKER}2`] });
  await send(url, "/caption", { image, model: MARKER });
  await send(url, "/caption", { image, adapter: MARKER });
  await send(url, "/caption", { image, seed: MARKER });
  await send(url, "/caption", { image, [MARKER]: 1 });
  await send(url, "/caption", { image: MARKER });
  await send(url, "/caption", { image: Buffer.from(MARKER).toString("base64") });
  await send(url, "/caption", { image: `https://${MARKER}.org/${MARKER}?${MARKER}` });
  await send(url, "/caption", { image: `data:${MARKER};base64,${MARKER}` });
  await send(url, "/caption", `{"${MARKER}": ${MARKER}`);
  await send(url, "/caption", "x", { "content-type": `text/${MARKER}` });
  await send(url, "/caption", { image, stream: true, max_tokens: 3 });
  const content = [
    { type: "text", text: question },
    { type: "image_url", image_url: { url: `data:image/png;base64,${image}` } },
  ];
  await send(url, "/v1/chat/completions", { messages: [{ role: "user", content }], user: MARKER, max_tokens: 3 });
  await send(url, "/v1/chat/completions", { messages: [{ role: MARKER, content }] });
  for (const fields of [{ question }, { [MARKER]: MARKER }, { question: [MARKER, MARKER], beams: MARKER }]) {
    await send(url, "/vqa", form(png, fields as Record<string, string>));
  }
  const files = form(undefined, { question });
  files.append("image", new Blob([MARKER], { type: `image/${MARKER}` }), `${MARKER}.png`);
  await send(url, "/vqa", files);
  const other = form(png);
  other.append(MARKER, new Blob([MARKER]), MARKER);
  await send(url, "/vqa", other);
  await send(url, "/vqa", "--x", { "content-type": `multipart/form-data; boundary=${MARKER}` });
  for (const path of [`/${MARKER}`, `/%zz${MARKER}`, `/samples/${MARKER}/${MARKER}.png`, `/docs/static/${MARKER}`]) {
    await send(url, path);
  }
  await postForm(`${url}/vqa`, form(png, { question }), { headers: { authorization: `Bearer ${MARKER}-wrong` } });
  await sendRaw(url, `GET /${MARKER} HTTP/1.1\r\nhost: ${MARKER}\r\nexpect: ${MARKER}\r\n\r\n`);
  await sendRaw(url, `${MARKER} / HTTP/1.1\r\n\r\n`);
  await sendRaw(url, `GET /${MARKER} HTTP/1.1\r\n${MARKER}: ${MARKER}\r\n\r\n`);
  const type = "content-type: multipart/form-data; boundary=x";
  const part = `--x\r\ncontent-disposition: form-data; name="${MARKER}"\r\n\r\n${MARKER}`;
  await sendRaw(
    url,
    `POST /vqa HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\n${type}\r\ncontent-length: 900\r\n\r\n${part}`,
  );
}

const levels: readonly NonNullable<ServerSettings["logLevel"]>[] = ["trace", "debug", "info", "warn", "error"];

describe("the log", () => {
  for (const logLevel of levels) {
    it(`contains no part of a request at the level ${logLevel}, and no client error as an error`, async () => {
      const rateLimit = { requests: 1000, seconds: 60 };
      const corsOrigins = ["http://example.org"];
      const settings = { models: { tiny: model }, keys: { me: KEY }, logLevel, rateLimit, corsOrigins, trustProxy: 1 };
      const running = await startServer(settings);
      await sendEverywhere(running);
      await running.stop();
      const text = JSON.stringify(running.log);
      assert.doesNotMatch(text, new RegExp(MARKER, "i"));
      assert.ok(!text.includes(png.toString("base64").slice(0, 40)));
      assert.deepEqual(
        running.log.filter(({ level }) => Number(level) >= 50),
        [],
      );
      if (logLevel === "debug") assert.match(text, /"rejected"/);
      if (logLevel === "info") assert.match(text, /"route":"\/vqa","ip":"127\.0\.0\.1".*"key":"me"/);
    });
  }
});
