import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { encodeOnnx, writeOnnx } from "../../src/graph/onnx-writer.js";
import { openSession, type Session } from "../../src/runtime/session.js";
import { SessionThread } from "../../src/runtime/session-thread.js";
import { type GoldenRun, goldenDecoder, goldenEncoder } from "../support/golden-graphs.js";

/** The two ways to open a session, which must behave identically. */
const thread = new SessionThread();
const ways: readonly (readonly [string, typeof openSession])[] = [
  ["in the calling thread", openSession],
  ["in a worker thread", (model, options) => thread.open(model, options)],
];

let folder: string;
const path = (name: string) => join(folder, name);

before(() => {
  folder = mkdtempSync(join(tmpdir(), "epalm-session-"));
  writeOnnx(goldenEncoder("opt-shared-1token").graph, path("encoder.onnx"));
});
after(async () => {
  await thread.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("ONNX Runtime's telemetry", () => {
  const program = fileURLToPath(new URL("./telemetry-program.js", import.meta.url));
  const leaves = (environment: NodeJS.ProcessEnv, way: string) => {
    const temporary = mkdtempSync(join(folder, "temporary-"));
    // ONNX Runtime disables telemetry by itself if CI is set.
    const { ORT_DISABLE_TELEMETRY: _set, CI: _ci, ...rest } = process.env;
    const env = { ...rest, TMPDIR: temporary, ...environment };
    execFileSync(process.execPath, [program, way, path("encoder.onnx")], { env });
    return readdirSync(temporary);
  };
  for (const way of ["here", "thread"]) {
    it(`is off (${way}): its files are not written`, () => assert.deepEqual(leaves({}, way), []));
  }
});

describe("EPALM_THREADS", () => {
  const given = process.env.EPALM_THREADS;
  afterEach(() => {
    if (given === undefined) delete process.env.EPALM_THREADS;
    else process.env.EPALM_THREADS = given;
  });

  /** Native threads that a session adds to this process. */
  async function threadsOfSession(options = {}): Promise<number> {
    const count = () => readdirSync("/proc/self/task").length;
    const before = count();
    const session = await openSession(path("encoder.onnx"), options);
    const added = count() - before;
    await session.close();
    return added;
  }

  const skip = process.platform !== "linux" && "only Linux lists the threads of a process";
  it("is the number of threads of sessions that are opened without an option", { skip }, async () => {
    process.env.EPALM_THREADS = "4";
    // ONNX Runtime computes in the calling thread, too.
    assert.equal(await threadsOfSession(), 3);
    assert.equal(await threadsOfSession({ threads: 2 }), 1);
    process.env.EPALM_THREADS = "1";
    assert.equal(await threadsOfSession(), 0);
  });

  for (const [text, message] of [
    ["all", "EPALM_THREADS: expected an integer, got 'all'"],
    ["0", "EPALM_THREADS: expected an integer from 1 to 1024, got 0"],
  ] as const) {
    it(`is rejected by name if it is '${text}'`, async () => {
      process.env.EPALM_THREADS = text;
      await assert.rejects(openSession(path("encoder.onnx")), { code: "invalid_option", message });
    });
  }
});

async function runAll(session: Session, { feeds, output }: GoldenRun) {
  const results = await session.run(feeds, [output]);
  await session.close();
  return results[output];
}

for (const [way, open] of ways) {
  describe(`session ${way}`, () => {
    const files: [string, () => void, RegExp][] = [
      ["missing.onnx", () => undefined, /missing\.onnx: /],
      ["text.onnx", () => writeFileSync(path("text.onnx"), "this is no graph"), /text\.onnx: /],
      ["empty.onnx", () => writeFileSync(path("empty.onnx"), ""), /empty\.onnx: /],
      [
        "cut.onnx",
        () => writeFileSync(path("cut.onnx"), readFileSync(path("encoder.onnx")).subarray(0, 3000)),
        /cut\.onnx: /,
      ],
      [
        "lone.onnx",
        () => {
          const elsewhere = readFileSync(path("encoder.onnx"), "latin1").replaceAll("encoder.data", "elsewhe.data");
          writeFileSync(path("lone.onnx"), elsewhere, "latin1");
        },
        /lone\.onnx: .*elsewhe\.data/,
      ],
    ];
    for (const [name, make, message] of files) {
      it(`rejects an invalid graph with the file's name: ${name}`, async () => {
        make();
        await assert.rejects(open(path(name)), { name: "EpalmError", code: "invalid_model", message });
      });
    }

    it("rejects a truncated data file", async () => {
      copyFileSync(path("encoder.onnx"), path("short.onnx"));
      const text = readFileSync(path("short.onnx"), "latin1").replaceAll("encoder.data", "shorter.data");
      writeFileSync(path("short.onnx"), text, "latin1");
      writeFileSync(path("shorter.data"), readFileSync(path("encoder.data")).subarray(0, 5000));
      await assert.rejects(open(path("short.onnx")), { code: "invalid_model", message: /short\.onnx: / });
    });

    it("rejects bytes that are not a graph", async () => {
      const message = /^graph in memory: /;
      await assert.rejects(open(Uint8Array.of(1, 2, 3)), { code: "invalid_model", message });
    });

    it("reports the graph's inputs and outputs", async () => {
      const session = await open(path("encoder.onnx"));
      assert.deepEqual(session.inputNames, ["pixels"]);
      assert.deepEqual(session.outputNames, ["cls_states"]);
      await session.close();
    });

    const feeds: [string, Record<string, unknown>, RegExp][] = [
      ["a missing input", {}, /pixels/],
      ["a wrong shape", { type: "float32", shape: [1, 3, 4, 4], data: new Float32Array(48) }, /ONNX Runtime: /],
      ["a wrong type", { type: "int64", shape: [1], data: BigInt64Array.of(1n) }, /ONNX Runtime: /],
      ["missing numbers", { type: "float32", shape: [1, 3, 32, 32], data: new Float32Array(5) }, /ONNX Runtime: /],
    ];
    for (const [what, pixels, message] of feeds) {
      it(`reports ${what} and stays open`, async () => {
        const { feeds: right, output } = goldenEncoder("opt-shared-1token");
        const session = await open(path("encoder.onnx"));
        const wrong = Object.keys(pixels).length > 0 ? { pixels: pixels as never } : {};
        await assert.rejects(session.run(wrong, [output]), { name: "EpalmError", code: "internal", message });
        assert.ok((await session.run(right, [output]))[output]);
        await session.close();
      });
    }

    it("rejects runs after it was closed", async () => {
      const { feeds: right, output } = goldenEncoder("opt-shared-1token");
      const session = await open(path("encoder.onnx"));
      await session.close();
      await assert.rejects(session.run(right, [output]), { name: "EpalmError", code: "internal" });
    });
  });
}

describe("sessions of both kinds", () => {
  for (const [what, run] of [
    ["encoder", goldenEncoder("opt-shared-1token")],
    ["decoder", goldenDecoder("llama-shared-1token")],
  ] as const) {
    it(`give the same numbers: ${what}`, async () => {
      const model = encodeOnnx(run.graph);
      const [local, remote] = [await openSession(model), await thread.open(model)];
      const expected = await runAll(local, run);
      assert.ok(expected);
      assert.deepEqual(await runAll(remote, run), expected);
    });
  }

  const settings = [{ threads: 1 }, { optimize: false }, { mapWeights: true }] as const;
  for (const options of settings) {
    it(`give nearly the same numbers with ${JSON.stringify(options)}`, async () => {
      const run = goldenEncoder("opt-shared-1token");
      const expected = await runAll(await openSession(path("encoder.onnx")), run);
      const found = await runAll(await openSession(path("encoder.onnx"), options), run);
      assert.ok(expected && found);
      found.data.forEach((value: number | bigint, i: number) => {
        // float32 with another order of summation; the states are normalised, so they are near 1.
        assert.ok(Math.abs(Number(value) - Number(expected.data[i])) < 1e-5);
      });
    });
  }

  it("keep results of several sessions apart in one thread", async () => {
    const [encoder, decoder] = [goldenEncoder("opt-shared-1token"), goldenDecoder("opt-shared-1token")];
    const sessions = [await thread.open(encodeOnnx(encoder.graph)), await thread.open(encodeOnnx(decoder.graph))];
    const results = await Promise.all(
      [encoder, decoder].map(({ feeds, output }, i) => sessions[i]?.run(feeds, [output])),
    );
    assert.deepEqual(
      results.map((result) => Object.keys(result ?? {})),
      [["cls_states"], ["logits"]],
    );
    for (const session of sessions) await session.close();
  });
});
