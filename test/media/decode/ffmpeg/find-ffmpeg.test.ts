import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { findFfmpeg, searchFfmpeg } from "../../../../src/media/decode/ffmpeg/find-ffmpeg.js";

const found = await findFfmpeg();

describe("searchFfmpeg", () => {
  it("returns the first program that runs", async () => {
    assert.deepEqual(await searchFfmpeg(undefined, [undefined, "/nowhere/ffmpeg", found.path, "ffmpeg"]), found);
    assert.match(found.version, /\d/);
  });

  it("skips programs that are not ffmpeg", async () => {
    assert.deepEqual(await searchFfmpeg(undefined, [process.execPath, found.path]), found);
  });

  it("skips an ffmpeg without the required formats", {
    skip: process.platform === "win32",
  }, async () => {
    const path = join(mkdtempSync(join(tmpdir(), "epalm-small-ffmpeg-")), "ffmpeg");
    const answer = "case $2 in -version) echo ffmpeg version 7.1;; *) echo E mp4 MP4;; esac";
    writeFileSync(path, `#!/bin/sh\n${answer}\n`, { mode: 0o700 });
    assert.deepEqual(await searchFfmpeg(undefined, [path, found.path]), found);
    await assert.rejects(searchFfmpeg(path, []), { message: /which cannot write wav/ });
    rmSync(dirname(path), { recursive: true });
  });

  it("uses only the given program", async () => {
    assert.deepEqual(await searchFfmpeg(found.path, []), found);
    await assert.rejects(searchFfmpeg("/nowhere/ffmpeg", [found.path]), {
      code: "invalid_option",
      message: /^FFMPEG_PATH: .*\/nowhere\/ffmpeg/,
    });
  });

  it("reports how to install ffmpeg if none is found", async () => {
    await assert.rejects(searchFfmpeg(undefined, ["/nowhere/ffmpeg"]), {
      code: "unsupported_media",
      message: /install it or set FFMPEG_PATH to its path/,
    });
  });
});
