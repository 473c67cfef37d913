import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { EncoderBatcher } from "../../src/encoding/encoder-batcher.js";
import { readManifest } from "../../src/index.js";
import type { EncoderManifest } from "../../src/model/manifest.js";
import type { Session } from "../../src/runtime/session.js";
import { SessionThread } from "../../src/runtime/session-thread.js";
import { elementCount } from "../../src/tensor/tensor.js";
import { buildTinyModel } from "../support/tiny-model.js";

/** Results of one run and of several runs differ in the last bits. */
const TOLERANCE = 1e-5;

const thread = new SessionThread();
after(() => thread.close());

let graph: string;
let encoder: EncoderManifest;
let session: Session;
before(async () => {
  const folder = await buildTinyModel();
  encoder = readManifest(folder).encoder;
  graph = join(folder, encoder.graph);
  session = await thread.open(graph, { threads: 1 });
});

const example = (seed: number) =>
  Float32Array.from({ length: elementCount(encoder.inputShape) }, (_, at) => Math.sin(at * 0.1 + seed));

/** The states of one example that is run alone. */
async function alone(pixels: Float32Array): Promise<number[]> {
  const input = { type: "float32" as const, shape: [1, ...encoder.inputShape], data: pixels };
  const { cls_states: states } = await session.run({ pixels: input }, ["cls_states"]);
  return Array.from(states?.data ?? [], Number);
}

function assertClose(got: ArrayLike<unknown>, expected: readonly number[]): void {
  assert.equal(got.length, expected.length);
  for (const [at, value] of expected.entries()) {
    assert.ok(Math.abs(Number(got[at]) - value) < TOLERANCE, `number ${at}: ${got[at]}, expected ${value}`);
  }
}

describe("EncoderBatcher", () => {
  it("batches waiting examples and returns the states of each", async () => {
    const batcher = new EncoderBatcher(session, encoder, 2);
    const examples = [1, 2, 3, 4, 5].map(example);
    const states = await Promise.all(examples.map((pixels) => batcher.encode(pixels)));
    assert.deepEqual(batcher.counts, { runs: 3, examples: 5 });
    for (const [at, pixels] of examples.entries()) {
      assert.deepEqual(states[at]?.states.shape, [encoder.depth, encoder.width]);
      assertClose(states[at]?.states.data ?? [], await alone(pixels));
    }
  });

  it("batches examples that arrive during a run, and never waits to fill a batch", async () => {
    const batcher = new EncoderBatcher(session, encoder, 8);
    const first = batcher.encode(example(1));
    // The first run has begun now.
    await new Promise((resolve) => setImmediate(resolve));
    const later = [2, 3, 4].map((seed) => batcher.encode(example(seed)));
    await Promise.all([first, ...later]);
    assert.deepEqual(batcher.counts, { runs: 2, examples: 4 });
  });

  it("omits examples that were cancelled before their run", async () => {
    const batcher = new EncoderBatcher(session, encoder, 8);
    const controller = new AbortController();
    const first = batcher.encode(example(1));
    await new Promise((resolve) => setImmediate(resolve));
    const taken = batcher.encode(example(2), controller.signal);
    const other = batcher.encode(example(3));
    controller.abort();
    await assert.rejects(taken, { code: "aborted" });
    await Promise.all([first, other]);
    assert.deepEqual(batcher.counts, { runs: 2, examples: 2 });
  });

  it("rejects all examples of a failed run and continues with the next", async () => {
    const batcher = new EncoderBatcher(session, encoder, 2);
    const long = new Float32Array(elementCount(encoder.inputShape) * 3);
    const failed = [batcher.encode(long), batcher.encode(example(1))];
    const next = batcher.encode(example(2));
    for (const one of failed) await assert.rejects(one, RangeError);
    assertClose((await next).states.data, await alone(example(2)));
  });

  it("rejects states whose shape is not the encoder's", async () => {
    const batcher = new EncoderBatcher(session, { ...encoder, depth: encoder.depth + 1 }, 2);
    await assert.rejects(batcher.encode(example(1)), { code: "invalid_model", message: /expected cls_states/ });
  });

  it("passes on the error of a closed session", async () => {
    const own = await thread.open(graph, { threads: 1 });
    const batcher = new EncoderBatcher(own, encoder, 2);
    await own.close();
    await assert.rejects(batcher.encode(example(1)), { code: "internal", message: /no session/ });
  });
});
