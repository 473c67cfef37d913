import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatSeconds, progressText } from "../../../src/cli/bulk/progress.js";

describe("progress", () => {
  const counts = { total: 10_000, units: 2500, skipped: 500, answered: 1998, failed: 2, seconds: 40 };

  it("shows what is done and failed, the rate, and the time left for what remains", () => {
    assert.equal(progressText(counts), "2,500/10,000 · 2 failed · 50.0 files/s · 3 min left");
  });

  it("shows no time left while the number of files is unknown or nothing is done", () => {
    assert.equal(progressText({ ...counts, total: undefined }), "2,500 · 2 failed · 50.0 files/s");
    const none = { ...counts, units: 0, skipped: 0, answered: 0, failed: 0 };
    assert.equal(progressText(none), "0/10,000 · 0 failed · 0.0 files/s");
  });

  it("shows durations in one or two units", () => {
    assert.deepEqual([0, 59, 61, 3600, 3661].map(formatSeconds), ["0 s", "59 s", "2 min", "1 h 0 min", "1 h 2 min"]);
  });
});
