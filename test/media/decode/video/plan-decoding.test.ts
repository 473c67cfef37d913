import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Packet, planDecoding } from "../../../../src/media/decode/video/plan-decoding.js";

/** One frame per second, and a key frame every `keys` frames. */
const packets = (count: number, keys: number): Packet[] =>
  Array.from({ length: count }, (_, time) => {
    return { time, decodeTime: time - 0.5, duration: 1, isKey: time % keys === 0 };
  });

describe("planDecoding", () => {
  it("decodes a short video in one run from its beginning", () => {
    assert.deepEqual(planDecoding(packets(80, 20), [10, 30, 50, 70]), [{ start: undefined, times: [10, 30, 50, 70] }]);
  });

  it("restarts at the key frame before a distant frame", () => {
    assert.deepEqual(planDecoding(packets(1000, 100), [50, 150, 450, 460, 999]), [
      { start: undefined, times: [50] },
      { start: 99.5, times: [150] },
      { start: 399.5, times: [450, 460] },
      { start: 899.5, times: [999] },
    ]);
  });

  it("continues decoding if there is no key frame in between", () => {
    assert.deepEqual(planDecoding(packets(1000, 1000), [100, 500, 900]), [
      { start: undefined, times: [100, 500, 900] },
    ]);
  });

  it("uses an earlier key frame for a frame that is shown before its key frame", () => {
    const file = packets(300, 100);
    // Stored after the key frame of second 200, but shown before it.
    const leading: Packet = { time: 199.5, decodeTime: 199.4, duration: 1, isKey: false };
    file.splice(201, 0, leading);
    assert.deepEqual(planDecoding(file, [201]), [{ start: 99.5, times: [199.5] }]);
  });
});
