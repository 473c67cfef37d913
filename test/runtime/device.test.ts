import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { EpalmError } from "../../src/core/errors.js";
import { deviceProblem, placeGraph, workingDevices } from "../../src/runtime/device.js";
import { SessionThread } from "../../src/runtime/session-thread.js";
import { createTurns, inTurn } from "../../src/runtime/turns.js";

const thread = new SessionThread();
const open: SessionThread["open"] = (model, options) => thread.open(model, options);
after(() => thread.close());

/** A device that no machine has which runs these tests. */
const absent = process.platform === "win32" ? "coreml" : "dml";

describe("placeGraph", () => {
  const graph = { name: "decoder", precision: "fp32" };

  it("computes on the CPU without trying anything", async () => {
    assert.deepEqual(await placeGraph("cpu", graph, () => Promise.reject(new Error("not called"))), { device: "cpu" });
  });

  it("names the devices that work here if the chosen one does not, and what it requires", async () => {
    await assert.rejects(placeGraph(absent, graph, open), (error: EpalmError) => {
      assert.equal(error.code, "invalid_option");
      assert.match(error.message, /^device: expected cpu.* work.* on this machine, got /);
      assert.match(error.message, new RegExp(`${absent} requires `));
      return true;
    });
  });

  it("rejects int8 on other devices, naming the alternatives", async () => {
    const int8 = { ...graph, precision: "int8" };
    await assert.rejects(
      placeGraph("webgpu", int8, open),
      /the decoder is in int8, which only the cpu computes.*int4 or fp32/,
    );
  });

  it("falls back to the CPU with one sentence if auto finds no device for the graph", async () => {
    const { device, note } = await placeGraph("auto", { ...graph, precision: "int8" }, open);
    assert.equal(device, "cpu");
    assert.match(note ?? "", /^The decoder is computed on the CPU: .*int8.*\.$/);
  });

  it("finds that the CPU works", async () => {
    assert.equal(await deviceProblem("cpu", open), undefined);
    assert.ok((await workingDevices(open)).includes("cpu"));
  });
});

describe("turns", () => {
  it("lets one run at a time", async () => {
    const turns = createTurns();
    let running = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 1));
      running--;
    };
    await Promise.all(Array.from({ length: 8 }, () => inTurn(turns, work)));
    assert.equal(most, 1);
  });

  it("ends the turn of a run that fails", async () => {
    const turns = createTurns();
    await assert.rejects(inTurn(turns, () => Promise.reject(new EpalmError("internal", "lost"))));
    assert.equal(await inTurn(turns, async () => 1), 1);
  });
});
