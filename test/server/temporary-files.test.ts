import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { mediaWarnings } from "../../src/media/media-warnings.js";
import { parseServerConfig, temporaryBytes } from "../../src/server/config.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";
import { postJson, problemIn, startServer } from "../support/running-server.js";

const models = { all: await buildAllSensesModel() };
const base64 = (name: string) => readFileSync(join("test/fixtures/media", name)).toString("base64");
/** Its index is behind its content, so it needs a temporary file. */
const video = base64("mpeg4.mov");

const parent = mkdtempSync(join(tmpdir(), "epalm-temporary-"));
after(() => rmSync(parent, { recursive: true }));

describe("a service", () => {
  it("answers two videos at once that need temporary files, and leaves none", async () => {
    process.env.TMPDIR = parent;
    const running = await startServer({ models, logLevel: "silent", stateCacheBytes: 0 });
    const bodies = [1, 2].map(() => postJson(`${running.url}/caption`, { video, max_tokens: 2 }));
    for (const response of await Promise.all(bodies)) assert.equal(response.status, 200);
    assert.deepEqual(readdirSync(parent), []);
    await running.stop();
  });

  it("without a writable folder answers what ffmpeg reads from a pipe, and the rest with 503", async () => {
    process.env.TMPDIR = join(parent, "nowhere");
    const running = await startServer({ models, logLevel: "silent", stateCacheBytes: 0 });
    for (const [field, name] of [
      ["audio", "tone.wav"],
      ["audio", "tone.mp3"],
      ["audio", "tone.opus.ogg"],
      ["video", "vp9.webm"],
      ["image", "photo-64x48.png"],
    ] as const) {
      const response = await postJson(`${running.url}/caption`, { [field]: base64(name), max_tokens: 2 });
      assert.equal(response.status, 200, `${name}: ${await response.text()}`);
    }
    const refused = await postJson(`${running.url}/caption`, { video, max_tokens: 2 });
    assert.ok(Number(refused.headers.get("retry-after")) > 0);
    const { field, code, detail } = await problemIn(refused, 503);
    assert.deepEqual([field, code], ["video", "overloaded"]);
    assert.match(detail, /temporary file, which cannot be written \(ENOENT\)/);
    await running.stop();
    process.env.TMPDIR = parent;
  });

  it("warns about a folder that cannot be written", async () => {
    process.env.TMPDIR = join(parent, "nowhere");
    const warnings = await mediaWarnings();
    process.env.TMPDIR = parent;
    assert.ok(warnings.some((warning) => /folder for temporary files cannot be written.*503.*TMPDIR/.test(warning)));
    assert.ok(!(await mediaWarnings()).some((warning) => /temporary files/.test(warning)));
  });
});

describe("limits.temporaryBytes", () => {
  it("is four times limits.mediaBytes by default, and at least limits.mediaBytes", () => {
    assert.equal(temporaryBytes(parseServerConfig({ limits: { mediaBytes: 1000 } })), 4000);
    assert.equal(temporaryBytes(parseServerConfig({ limits: { mediaBytes: 1000, temporaryBytes: 1000 } })), 1000);
    assert.throws(() => parseServerConfig({ limits: { mediaBytes: 1000, temporaryBytes: 999 } }), {
      code: "invalid_option",
      message: "config: 'limits.temporaryBytes': expected at least limits.mediaBytes, 1000, got 999",
    });
  });
});
