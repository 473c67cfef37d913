import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import OpenAI from "openai";
import type { Model } from "../../src/index.js";
import { type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

const KEY = "a-key-of-the-embedding-tests";

let running: Running;
let client: OpenAI;
let model: Model;
let urls: string[];
let pngs: Buffer[];
before(async () => {
  running = await startServer({ models: { tiny: await buildTinyModel() }, keys: { tests: KEY }, logLevel: "silent" });
  model = running.models.get(undefined).model;
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: KEY, maxRetries: 0 });
  pngs = [await picture(7), await picture(90)];
  urls = pngs.map((png) => `data:image/png;base64,${png.toString("base64")}`);
});

/** The state after the last block, scaled to length 1. */
async function expectedOf(png: Buffer): Promise<number[]> {
  const { states } = await model.encode(png);
  const [, width = 0] = states.shape;
  const last = Array.from(states.data.subarray(states.data.length - width), Number);
  const length = Math.sqrt(last.reduce((sum, value) => sum + value * value, 0));
  return last.map((value) => value / length);
}

function assertClose(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length);
  for (const [index, value] of actual.entries()) assert.ok(Math.abs(value - (expected[index] ?? 0)) < 1e-6);
}

describe("POST /v1/embeddings", () => {
  it("gives the openai client the normalised states of images, as base64 and as numbers", async () => {
    // By default, the client asks for base64 and decodes it.
    const { data } = await client.embeddings.create({ model: "tiny", input: urls });
    const floats = await client.embeddings.create({ model: "tiny", input: urls, encoding_format: "float" });
    for (const [index, png] of pngs.entries()) {
      const expected = await expectedOf(png);
      assertClose(data[index]?.embedding ?? [], expected);
      assertClose(floats.data[index]?.embedding ?? [], expected);
      assert.equal(data[index]?.index, index);
    }
    assert.deepEqual(floats.usage, { prompt_tokens: 0, total_tokens: 0 });
  });

  const post = (body: object, key = KEY) =>
    fetch(`${running.url}/v1/embeddings`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  it("takes single media, and objects that name the modality", async () => {
    const [url = ""] = urls;
    const [, base64 = ""] = url.split(",");
    const width = (await expectedOf(pngs[0] ?? Buffer.alloc(0))).length;
    const bodies = [{ input: url }, { input: { image: base64 } }, { input: [{ media: url }], dimensions: width }];
    for (const body of bodies) {
      const response = await post(body);
      assert.equal(response.status, 200);
      const { data } = (await response.json()) as { data: { embedding: number[] }[] };
      assertClose(data[0]?.embedding ?? [], await expectedOf(pngs[0] ?? Buffer.alloc(0)));
    }
  });

  it("counts requests and stages in the metrics", async () => {
    const headers = { authorization: `Bearer ${KEY}` };
    const text = await (await fetch(`${running.url}/metrics`, { headers })).text();
    assert.match(text, /epalm_http_requests_total\{route="\/v1\/embeddings",method="POST",status="200"\} \d/);
    assert.match(text, /epalm_stage_seconds_count\{model="tiny",stage="encoder"\} [1-9]/);
  });

  it("rejects what it cannot embed, and names the place", async () => {
    const [url = ""] = urls;
    const refused: readonly (readonly [object, number, RegExp])[] = [
      [{ input: "a text" }, 400, /^input: expected a medium .*no encoder of texts/],
      [{ input: [url, "a text"] }, 400, /^input\[1\]: /],
      [{ input: [[1, 2]] }, 400, /^input/],
      [{ input: [] }, 400, /^input/],
      [{ input: [{ image: url, audio: url }] }, 400, /^input\[0\]: expected one of .*got 2/],
      [{ input: [{ audio: url }] }, 400, /^input\[0\]\.audio: model 'tiny' accepts image, not audio/],
      [{ input: url, dimensions: 3 }, 400, /^dimensions: expected \d+/],
      [{ input: url, model: "none" }, 404, /^model: /],
      [{ input: ["data:image/png;base64,AAAA"] }, 415, /^input\[0\]: /],
    ];
    for (const [body, status, message] of refused) {
      const response = await post(body);
      assert.equal(response.status, status, String(message));
      assert.match(((await response.json()) as { detail: string }).detail, message);
    }
    assert.equal((await post({ input: url }, "a-wrong-key-that-is-not-known")).status, 401);
  });
});
