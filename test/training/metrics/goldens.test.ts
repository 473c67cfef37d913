import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkCaptionMetrics, checkVqaAnswers } from "../../../bench/conformance/check-metrics.js";

describe("metrics", () => {
  it("agree with the published evaluations", () => {
    const checks = [
      ...checkCaptionMetrics("test/fixtures/goldens/caption-metrics.json"),
      ...checkVqaAnswers("test/fixtures/goldens/vqa-answers.json"),
    ];
    assert.equal(checks.length, 11);
    for (const { what, passed, found } of checks) assert.ok(passed, `${what}: ${found}`);
  });
});
