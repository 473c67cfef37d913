import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { withOwnSignal } from "../../src/core/abort.js";

describe("withOwnSignal", () => {
  it("passes on the reason of whichever signal fires, also of one that has fired before", async () => {
    for (const at of [0, 1]) {
      const controllers = [new AbortController(), new AbortController()];
      const signals = controllers.map(({ signal }) => signal);
      await withOwnSignal(signals, async (own) => {
        assert.equal(own.aborted, false);
        controllers[at]?.abort("reason");
        assert.equal(own.reason, "reason");
      });
      await withOwnSignal(signals, async (own) => assert.equal(own.reason, "reason"));
    }
  });

  it("leaves nothing on signals that outlive the work, whether it succeeds or fails", async () => {
    const { signal } = new AbortController();
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => void warnings.push(warning);
    process.on("warning", onWarning);
    const before = Reflect.ownKeys(signal).length;
    const calls = Array.from({ length: 50 }, (_, index) =>
      withOwnSignal([signal], async () => {
        await new Promise((resolve) => setImmediate(resolve));
        if (index % 2 === 0) throw new Error("failed");
      }),
    );
    assert.equal(getEventListeners(signal, "abort").length, 50);
    await Promise.allSettled(calls);
    assert.equal(getEventListeners(signal, "abort").length, 0);
    // AbortSignal.any adds a list of the derived signals to the signal.
    assert.equal(Reflect.ownKeys(signal).length, before);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", onWarning);
    assert.deepEqual(warnings, []);
  });
});
