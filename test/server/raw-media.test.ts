import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TextAnswer } from "../../src/wire.js";
import { problemIn, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

const { url } = await startServer({
  models: { tiny: await buildTinyModel() },
  logLevel: "silent",
  limits: { mediaBytes: 20_000 },
});
const image = new Uint8Array(await picture(5, 40, 30));

const post = (path: string, type: string | undefined, body: Uint8Array<ArrayBuffer> | string = image) =>
  fetch(`${url}${path}`, { method: "POST", body, headers: type === undefined ? {} : { "content-type": type } });

describe("a body that is a medium", () => {
  for (const type of ["image/png", "image/jpeg", "IMAGE/PNG; charset=binary", "video/x-unknown"]) {
    it(`is captioned as ${type}, because its bytes decide`, async () => {
      const response = await post("/caption", type);
      assert.equal(response.status, 200);
      const { modality } = (await response.json()) as TextAnswer;
      assert.equal(modality, "image");
    });
  }

  it("takes options from the query, as a form does", async () => {
    const answer = async (query: string) => (await (await post(query, "image/png")).json()) as TextAnswer;
    const { texts } = await answer("/caption?beams=3&n=2&max_tokens=4&logprobs=true&adapter=");
    assert.equal(texts.length, 2);
    assert.ok(texts.every(({ tokens = [] }) => tokens.length > 0 && tokens.length <= 4));
    const ranked = await answer("/vqa?question=is%20it%20day&candidates=yes&candidates=no");
    assert.deepEqual(ranked.texts.map(({ text }) => text).toSorted(), ["no", "yes"]);
  });

  it("rejects invalid options, naming the field", async () => {
    assert.equal((await problemIn(await post("/caption?beams=x", "image/png"), 400)).field, "beams");
    assert.equal((await problemIn(await post("/caption?colour=red", "image/png"), 400)).code, "invalid_option");
    assert.equal((await problemIn(await post("/vqa", "image/png"), 400)).field, "question");
  });

  it("rejects bytes that are no medium, and more bytes than a medium may have", async () => {
    assert.equal((await problemIn(await post("/caption", "image/png", "text"), 415)).field, "media");
    const large = new Uint8Array(30_000);
    assert.equal((await problemIn(await post("/caption", "image/png", large), 413)).field, "media");
  });

  for (const type of ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "imagex/png"]) {
    it(`is rejected as ${type}, listing the accepted types`, async () => {
      const { detail } = await problemIn(await post("/caption", type), 415);
      for (const accepted of ["application/json", "multipart/form-data", "image/*", "audio/*", "video/*"]) {
        assert.ok(detail.includes(accepted), detail);
      }
    });
  }
});

describe("the examples of GET /openapi.json", () => {
  it("get an answer as they are", async () => {
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as {
      paths: Record<string, { post?: { requestBody: { content: Record<string, { example?: unknown }> } } }>;
    };
    let sent = 0;
    for (const [path, { post: operation }] of Object.entries(document.paths)) {
      const example = operation?.requestBody.content["application/json"]?.example;
      if (example === undefined) continue;
      sent++;
      const response = await post(path, "application/json", JSON.stringify(example));
      assert.equal(response.status, 200, `${path}: ${await response.text()}`);
    }
    assert.equal(sent, 5);
  });

  it("may be sent as a form with empty fields", async () => {
    const form = new FormData();
    for (const name of ["model", "adapter", "beams", "temperature", "stop", "stream", "audio", "question[]"]) {
      form.append(name, "");
    }
    form.append("question", "what is it");
    form.append("image", new Blob([image], { type: "image/png" }), "x.png");
    const response = await fetch(`${url}/vqa`, { method: "POST", body: form });
    assert.equal(response.status, 200, await response.text());
  });
});
