import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { EpalmError } from "../../src/core/errors.js";
import { deviceProblem, type OpenProbe, placeGraph, workingDevices } from "../../src/runtime/device.js";
import { SessionThread } from "../../src/runtime/session-thread.js";
import { createTurns, inTurn, turnsOf } from "../../src/runtime/turns.js";

const thread = new SessionThread();
const open: SessionThread["open"] = (model, options) => thread.open(model, options);
after(() => thread.close());

/** A device that no machine has which runs these tests. */
const absent = process.platform === "win32" ? "coreml" : "dml";

describe("placeGraph", () => {
  const graph = { name: "decoder", precision: "fp32" } as const;

  it("computes on the CPU without trying anything", async () => {
    assert.deepEqual(await placeGraph("cpu", graph, () => Promise.reject(new Error("not called"))), { device: "cpu" });
  });

  it("names the devices that work here if the chosen one does not, and what it requires", async () => {
    await assert.rejects(placeGraph(absent, graph, open), (error: EpalmError) => {
      assert.equal(error.code, "invalid_option");
      assert.match(error.message, /^device: expected cpu.* work.* on this machine, got /);
      assert.match(error.message, /; it requires (?:Windows|macOS)$/);
      return true;
    });
  });

  for (const precision of ["int8", "int4"] as const) {
    it(`rejects products of integers on other devices, naming the alternatives: ${precision}`, async () => {
      await assert.rejects(placeGraph("webgpu", { ...graph, precision }, open), {
        code: "invalid_option",
        message: `device: the decoder is in ${precision}, whose products of integers only the cpu computes, not webgpu; build the model with --precision int4-fp16, int4-fp32, fp16 or fp32`,
      });
    });
  }

  for (const [precision, other] of [
    ["fp16", "fp32"],
    ["int4-fp16", "int4-fp32"],
  ] as const) {
    it(`rejects 16 bits before loading, on a device without them: ${precision}`, async () => {
      // Such an adapter opens the graph and fails at its first run, which is when the types of shaders are known.
      const without: OpenProbe = async (model, { device, ...options }) => {
        const session = await open(model, options);
        const isHalf = Buffer.from(model).includes(".fp16");
        const fails = () => Promise.reject(new EpalmError("internal", "ONNX Runtime: requires f16"));
        return device === "webgpu" && isHalf ? { ...session, run: fails } : session;
      };
      assert.deepEqual(await placeGraph("webgpu", graph, without), { device: "webgpu" });
      await assert.rejects(placeGraph("webgpu", { ...graph, precision }, without), {
        code: "invalid_option",
        message: `device: the decoder is in ${precision}, but the webgpu of this machine does not compute in 16 bits (ONNX Runtime: requires f16); build the model with --precision ${other}, or choose the device cpu`,
      });
    });
  }

  it("falls back to the CPU with one sentence if auto finds no device for the graph", async () => {
    const { device, note } = await placeGraph("auto", { ...graph, precision: "int8" }, open);
    assert.equal(device, "cpu");
    assert.match(note ?? "", /^The decoder is computed on the CPU: .*int8.*\.$/);
  });

  it("finds that the CPU works", async () => {
    assert.equal(await deviceProblem("cpu", open), undefined);
    assert.equal(await deviceProblem("cpu", open, "fp16"), undefined);
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

  it("is taken from a thread that has ended during it", async () => {
    const turns = createTurns();
    void inTurn(turns, () => new Promise<never>(() => {}));
    // Waiting for a lock keeps no process alive; a worker thread has its port.
    const alive = setInterval(() => {}, 1000);
    assert.equal(await inTurn(turns, async () => 1, 10), 1);
    clearInterval(alive);
  });

  it("is shared by all graphs of a device other than the CPU", () => {
    assert.equal(turnsOf("cpu"), undefined);
    assert.equal(turnsOf("webgpu"), turnsOf("webgpu"));
    assert.notEqual(turnsOf("webgpu"), turnsOf("cuda"));
  });

  it("ends the turn of a run that fails", async () => {
    const turns = createTurns();
    await assert.rejects(inTurn(turns, () => Promise.reject(new EpalmError("internal", "lost"))));
    assert.equal(await inTurn(turns, async () => 1), 1);
  });
});
