import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { findFfmpeg } from "../../src/media/decode/ffmpeg/find-ffmpeg.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";
import { makeMedia } from "../support/make-media.js";
import { runningFfmpegs } from "../support/running-processes.js";
import { postJson, problemIn, startServer } from "../support/running-server.js";
import { temporaryFolder } from "../support/tiny-model.js";

/** Decoding of a medium whose request is cancelled ends immediately and leaves neither a process nor a file. */

const folder = await buildAllSensesModel();
const still = ["-f", "lavfi", "-i", "color=c=red:s=64x48:r=5:d=40"];
const clip = makeMedia("still.mov", ...still, "-c:v", "mpeg4").toString("base64");

// Runs ffmpeg at the speed of playback, so that reading the video takes 40 seconds.
const { path: ffmpeg } = await findFfmpeg();
const slow = join(temporaryFolder(), "slow-ffmpeg");
const script = `case " $* " in *" -i "*) exec '${ffmpeg}' -re "$@";; *) exec '${ffmpeg}' "$@";; esac`;
writeFileSync(slow, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
const temporary = mkdtempSync(join(tmpdir(), "epalm-left-"));
after(() => rmSync(temporary, { recursive: true }));
// Threads copy the environment when they start.
process.env.FFMPEG_PATH = slow;
process.env.TMPDIR = temporary;

const skip = process.platform === "win32" && "a shell script replaces ffmpeg";

/** Milliseconds; much less than the video takes. */
const SOON = 10_000;

async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + SOON;
  while (!isSo()) {
    assert.ok(performance.now() < end, `not within ${SOON} ms: ${isSo}`);
    await pause(20);
  }
}

const nothingLeft = () => until(() => runningFfmpegs().length === 0 && readdirSync(temporary).length === 0);

const settings = { models: { all: folder }, logLevel: "silent" } as const;

describe("a video that takes long to decode", { skip }, () => {
  it("is cancelled if its client disconnects, even while it is waiting", async () => {
    const running = await startServer(settings);
    const leaving = new AbortController();
    const most = Math.max(1, availableParallelism() - 1);
    const asked = Array.from({ length: most + 3 }, async () => {
      const { signal } = leaving;
      const asking = postJson(`${running.url}/caption`, { video: clip }, { signal });
      await assert.rejects(asking, { name: "AbortError" });
    });
    await until(() => runningFfmpegs().length === most);
    await pause(500);
    assert.equal(runningFfmpegs().length, most, "others wait");
    leaving.abort();
    await Promise.all(asked);
    await nothingLeft();
    const metrics = await (await fetch(`${running.url}/metrics`)).text();
    assert.match(metrics, /^epalm_queue_running 0$/m);
    await running.stop();
  });

  it("is cancelled when the deadline of the request passes", async () => {
    const running = await startServer({ ...settings, limits: { answerSeconds: 2 } });
    const asking = postJson(`${running.url}/caption`, { media: clip });
    await until(() => runningFfmpegs().length > 0);
    assert.match((await problemIn(await asking, 504)).detail, /within 2 s/);
    await nothingLeft();
    await running.stop();
  });

  it("is cancelled when the service stops", async () => {
    const running = await startServer({ ...settings, graceSeconds: 0.2 });
    const asking = postJson(`${running.url}/caption`, { video: clip });
    await until(() => runningFfmpegs().length > 0);
    const stopping = running.stop();
    await problemIn(await asking, 503);
    await stopping;
    await nothingLeft();
  });
});
