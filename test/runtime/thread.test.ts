import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Thread, type ThreadOptions } from "../../src/runtime/thread.js";

const methods = new URL("./thread-methods.js", import.meta.url);

/** Far longer than the program takes; a process that is still running then would never end. */
const HANG_MILLISECONDS = 10_000;

describe("thread", () => {
  const threads: Thread[] = [];
  const open = (options?: ThreadOptions) => {
    const thread = new Thread(methods, options);
    threads.push(thread);
    return thread;
  };
  afterEach(async () => {
    for (const thread of threads.splice(0)) await thread.terminate();
  });

  it("runs several calls at the same time, each with its own result", async () => {
    const thread = open();
    const payloads = ["a", { b: Float32Array.of(1, 2) }, undefined, 4];
    const slow = thread.call("compute", 20);
    assert.deepEqual(await Promise.all(payloads.map((payload) => thread.call("echo", payload))), payloads);
    assert.equal(await slow, "done");
  });

  it("transfers buffers of a call instead of copying them", async () => {
    const data = Float32Array.of(1, 2, 3);
    const result = await open().call("echo", data, { transfer: [data.buffer] });
    assert.deepEqual(result, Float32Array.of(1, 2, 3));
    assert.equal(data.length, 0);
  });

  it("transfers buffers of a result instead of copying them", async () => {
    const thread = open();
    assert.deepEqual(await thread.call("give", 3), Float32Array.of(1, 1, 1));
    assert.equal(await thread.call("left", undefined), 0);
  });

  const failures: [string, string, string, RegExp][] = [
    ["EpalmError", "refuse", "too_large", /^41 tokens are more than 40$/],
    ["another error", "stumble", "internal", /^no function at all$/],
    ["a result that cannot be sent", "unclonable", "internal", /could not be cloned/],
    ["an unknown method", "nowhere", "internal", /no method 'nowhere'/],
    ["a method that every object has", "toString", "internal", /no method 'toString'/],
  ];
  for (const [what, method, code, message] of failures) {
    it(`rejects a call with code and message and keeps working: ${what}`, async () => {
      const thread = open();
      await assert.rejects(thread.call(method, undefined), { name: "EpalmError", code, message });
      assert.equal(await thread.call("echo", 1), 1);
    });
  }

  it("passes events to their call, in order and before its result", async () => {
    const thread = open();
    const heard: Record<string, unknown[]> = { a: [], b: [] };
    const results = await Promise.all(
      Object.entries(heard).map(([name, events], i) =>
        thread
          .call("count", 5 + i, { onEvent: (event) => events.push(event) })
          .then((result) => [name, result, events.length]),
      ),
    );
    assert.deepEqual(results, [
      ["a", 5, 5],
      ["b", 6, 6],
    ]);
    assert.deepEqual(heard, { a: [0, 1, 2, 3, 4], b: [0, 1, 2, 3, 4, 5] });
  });

  it("notifies only the method whose call is cancelled", async () => {
    const thread = open();
    const abort = new AbortController();
    const other = thread.call("compute", 30);
    const call = thread.call("untilAborted", undefined, {
      signal: abort.signal,
      onEvent: () => abort.abort(),
    });
    await assert.rejects(call, { code: "aborted", message: "the method was aborted" });
    assert.equal(await other, "done");
  });

  it("does not start a call that is already cancelled", async () => {
    const call = open().call("echo", 1, { signal: AbortSignal.abort() });
    await assert.rejects(call, { code: "aborted" });
  });

  const deaths: [string, string, RegExp][] = [
    ["exits", "die", /worker thread ended with code 3/],
    ["crashes", "crash", /worker thread far out/],
  ];
  for (const [what, method, message] of deaths) {
    it(`rejects pending and later calls when it ${what}`, async () => {
      const thread = open();
      const waiting = thread.call("untilAborted", undefined);
      const fatal = thread.call(method, undefined);
      await Promise.all([
        assert.rejects(waiting, { code: "internal", message }),
        assert.rejects(fatal, { code: "internal", message }),
      ]);
      await assert.rejects(thread.call("echo", 1), { code: "internal", message });
      await thread.close();
    });
  }

  it("is replaced when it ends: pending calls are rejected, and later calls wait for the restored state", async () => {
    const restored: unknown[] = [];
    const thread = open({
      restore: async (call) => restored.push(await call("echo", "state")),
      limits: { replacements: 2, milliseconds: 60_000, delayMilliseconds: 20 },
    });
    const events: string[] = [];
    for (const event of ["ended", "replaced", "failed"] as const) thread.on(event, () => events.push(event));
    for (const count of [1, 2]) {
      const pending = [thread.call("untilAborted", undefined), thread.call("die", undefined)];
      for (const call of pending) await assert.rejects(call, { code: "unavailable", message: /ended.*try again/ });
      assert.equal(thread.state, "replacing");
      const cancelled = thread.call("echo", 1, { signal: AbortSignal.timeout(1) });
      await assert.rejects(cancelled, { code: "aborted" });
      assert.equal(await thread.call("echo", count), count);
      assert.deepEqual([thread.state, thread.replacements, restored.length], ["running", count, count]);
    }
    const last = [thread.call("die", undefined), thread.call("die", undefined)];
    for (const call of last) await assert.rejects(call, { code: "unavailable" });
    await assert.rejects(thread.call("echo", 1), { code: "internal", message: /code 3, after 2 replacements/ });
    assert.equal(thread.state, "failed");
    assert.deepEqual(events, ["ended", "replaced", "ended", "replaced", "ended", "failed"]);
  });

  it("is replaced again if its state cannot be restored, a limited number of times", async () => {
    const limits = { replacements: 3, milliseconds: 60_000, delayMilliseconds: 1 };
    const healing = open({ limits, restore: (call) => call(healing.replacements < 3 ? "die" : "echo", 1) });
    const hopeless = open({ limits, restore: (call) => call("refuse", 1) });
    for (const thread of [healing, hopeless]) await assert.rejects(thread.call("die", 1), { code: "unavailable" });
    assert.equal(await healing.call("echo", 2), 2);
    assert.equal(healing.replacements, 3);
    const message = "worker thread 41 tokens are more than 40, after 3 replacements within 60 s";
    await assert.rejects(hopeless.call("echo", 2), { code: "internal", message });
  });

  it("can be closed while it is being replaced", async () => {
    const delayed = open({ restore: async () => undefined });
    const restoring = open({
      restore: (call) => call("untilAborted", undefined),
      limits: { replacements: 1, milliseconds: 1000, delayMilliseconds: 0 },
    });
    for (const thread of [delayed, restoring]) {
      await assert.rejects(thread.call("die", 1), { code: "unavailable" });
      const waiting = assert.rejects(thread.call("echo", 1), { code: "internal", message: /was closed/ });
      await new Promise((resolve) => setTimeout(resolve, 80));
      await Promise.all([thread.close(), waiting]);
      assert.equal(thread.state, "closed");
    }
  });

  it("rejects all calls when its module cannot be loaded", async () => {
    const thread = new Thread(new URL("./nowhere.js", import.meta.url));
    await assert.rejects(thread.call("echo", 1), { code: "internal", message: /nowhere\.js/ });
    await thread.close();
  });

  it("cancels calls when it is closed, but finishes the running work", async () => {
    const thread = open();
    await thread.call("echo", 1);
    const calls = [thread.call("untilAborted", undefined), thread.call("compute", 50)];
    const rejected = calls.map((call) => assert.rejects(call, { code: "internal", message: /was closed/ }));
    const start = performance.now();
    await Promise.all([...rejected, thread.close(), thread.close()]);
    assert.ok(performance.now() - start >= 45, "the thread ended before its work");
    await assert.rejects(thread.call("echo", 1), { message: /was closed/ });
    await thread.close();
  });

  it("starts in a program that is passed on the command line", async () => {
    const entry = new URL("../../src/runtime/thread.js", import.meta.url).href;
    const program = `import { Thread } from "${entry}";
      console.log(await new Thread(new URL("${methods.href}")).call("echo", "here"));`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program]);
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    await once(child, "close");
    assert.equal(output, "here\n");
  });

  it("keeps a program alive only while a call is pending", async () => {
    const program = fileURLToPath(new URL("./thread-program.js", import.meta.url));
    const child = spawn(process.execPath, [program], { timeout: HANG_MILLISECONDS });
    let output = "";
    child.stdout.on("data", (text) => {
      output += text;
    });
    const [code] = await once(child, "close");
    assert.deepEqual({ code, output }, { code: 0, output: "done\n" });
  });
});
