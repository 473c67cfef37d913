import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { parseServerConfig } from "../../src/server/config.js";
import { createServer } from "../../src/server/http/create-server.js";
import { Models } from "../../src/server/models.js";
import { textAnswer } from "../../src/wire.js";
import { form, postForm, problemIn, type Running, startServer } from "../support/running-server.js";
import { ADAPTER_FILE, buildTinyModel, picture } from "../support/tiny-model.js";

const KEY = "a-key-of-enough-letters";

let folder: string;
let png: Buffer;
before(async () => {
  folder = await buildTinyModel();
  png = await picture();
});

const caption = (running: Running, headers: Record<string, string> = {}, fields = {}) =>
  postForm(`${running.url}/caption`, form(png, { max_tokens: "3", ...fields }), { headers });

describe("keys", () => {
  it("are required for all endpoints except health and readiness", async () => {
    const running = await startServer({ models: { tiny: folder }, logLevel: "silent", keys: { me: KEY } });
    await problemIn(await caption(running), 401);
    await problemIn(await caption(running, { authorization: "Bearer wrong-key-wrong-key" }), 401);
    await problemIn(await fetch(`${running.url}/metrics`), 401);
    assert.equal((await caption(running, { authorization: `Bearer ${KEY}` })).status, 200);
    assert.equal((await fetch(`${running.url}/healthz`)).status, 200);
    assert.equal((await fetch(`${running.url}/readyz`)).status, 200);
    assert.ok(!JSON.stringify(running.log).includes(KEY));
  });

  it("have separate rate limits", async () => {
    const running = await startServer({
      models: { tiny: folder },
      logLevel: "silent",
      keys: { me: KEY, you: `${KEY}-2` },
      rateLimit: { requests: 2, seconds: 60 },
    });
    const ask = (key: string) => caption(running, { authorization: `Bearer ${key}` });
    assert.deepEqual([(await ask(KEY)).status, (await ask(KEY)).status], [200, 200]);
    const refused = await ask(KEY);
    assert.ok(Number(refused.headers.get("retry-after")) >= 1);
    assert.equal((await problemIn(refused, 429)).code, "rate_limited");
    assert.equal((await ask(`${KEY}-2`)).status, 200);
  });
});

describe("the service", () => {
  it("serves its metrics, its schema and its documentation", async () => {
    const running = await startServer({ models: { tiny: folder }, logLevel: "silent" });
    await caption(running);
    await caption(running);
    const metrics = await (await fetch(`${running.url}/metrics`)).text();
    assert.match(metrics, /^epalm_http_requests_total\{route="\/caption",method="POST",status="200"\} 2$/m);
    assert.match(metrics, /^epalm_state_cache_hits_total\{model="tiny"\} 1$/m);
    assert.match(metrics, /^epalm_tokens_total\{model="tiny",kind="new"\} 6$/m);
    assert.match(metrics, /^epalm_event_loop_delay_p99_seconds \d/m);
    const schema = (await (await fetch(`${running.url}/openapi.json`)).json()) as {
      openapi: string;
      paths: Record<string, object>;
    };
    assert.match(schema.openapi, /^3\.1/);
    const paths = ["/caption", "/vqa", "/v1/chat/completions", "/v1/models", "/healthz", "/readyz", "/metrics"];
    for (const path of paths) assert.ok(schema.paths[path], path);
    const docs = await fetch(`${running.url}/docs`);
    assert.equal(docs.status, 200);
    assert.match(docs.headers.get("content-security-policy") ?? "", /default-src 'none'|default-src 'self'/);
  });

  it("names the field and the limit in an error", async () => {
    const running = await startServer({
      models: { tiny: folder },
      logLevel: "silent",
      limits: { newTokens: 8, pixels: 1000 },
    });
    const long = await problemIn(await caption(running, {}, { max_tokens: "9" }), 413);
    assert.deepEqual([long.field, long.detail], ["max_tokens", "max_tokens: expected at most 8, got 9"]);
    const large = await problemIn(await caption(running), 413);
    assert.equal(large.field, "image");
    assert.match(large.detail, /1000 pixels/);
  });
});

describe("a service whose models are being loaded", () => {
  it("answers with 503 and Retry-After where models are needed", async () => {
    const models = new Models();
    const config = parseServerConfig({ models: { tiny: folder }, port: 0, threads: 1, logLevel: "silent" });
    const server = await createServer({ config, models, version: "0.0.0" });
    try {
      const url = await server.listen();
      const asked = [
        await fetch(`${url}/v1/models`),
        await fetch(`${url}/readyz`),
        await postForm(`${url}/caption`, form(png)),
      ];
      for (const response of asked) {
        assert.ok(Number(response.headers.get("retry-after")) >= 1, response.url);
        const { code, detail } = await problemIn(response, 503);
        assert.deepEqual([code, detail], ["overloaded", "the models are being loaded"]);
      }
      assert.equal((await fetch(`${url}/healthz`)).status, 200);
      await models.load(config, 1);
      assert.equal((await fetch(`${url}/v1/models`)).status, 200);
    } finally {
      await server.close();
      await models.close();
    }
  });
});

describe("an adapter that is copied into a folder", () => {
  it("is served without a restart; a damaged one is rejected without affecting others", async () => {
    const own = await buildTinyModel();
    const running = await startServer({ models: { tiny: own }, logLevel: "silent" });
    const { model } = running.models.get("tiny");
    await problemIn(await caption(running, {}, { adapter: "late" }), 404);
    copyFileSync(ADAPTER_FILE, join(own, "adapters", "late.pth"));
    writeFileSync(join(own, "adapters", "broken.safetensors"), "no tensors");
    const { loaded, refused } = await model.refreshAdapters();
    assert.deepEqual(loaded, ["late"]);
    assert.deepEqual(
      refused.map(({ name }) => name),
      ["broken"],
    );
    const response = await caption(running, {}, { adapter: "late" });
    assert.equal(textAnswer.parse(await response.json()).adapter, "late");
    assert.equal((await caption(running)).status, 200);
  });
});

describe("the config", () => {
  const bad: readonly (readonly [string, unknown])[] = [
    ["no_such_key", { no_such_key: 1 }],
    ["port", { port: 70_000 }],
    ["queue.running", { queue: { running: 0 } }],
    ["keys.me", { keys: { me: "short" } }],
    ["limits.pixels", { limits: { pixels: -1 } }],
    ["queue.bytes", { queue: { bytes: 1000 } }],
  ];
  for (const [key, settings] of bad) {
    it(`is rejected for an invalid ${key}`, () => {
      assert.throws(() => parseServerConfig(settings), { code: "invalid_option", message: new RegExp(key) });
    });
  }
});
