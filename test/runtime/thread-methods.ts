import { EpalmError } from "../../src/core/errors.js";
import { type MethodContext, serveThread } from "../../src/runtime/serve-thread.js";

let given = new Float32Array(0);

/** A worker thread for the tests of `Thread`; each method exercises one feature. */
serveThread({
  echo: (payload: unknown) => payload,
  give(count: number, { transfer }: MethodContext) {
    given = new Float32Array(count).fill(1);
    transfer(given.buffer);
    return given;
  },
  /** The remaining length of the transferred array. */
  left: () => given.length,
  refuse() {
    throw new EpalmError("too_large", "41 tokens are more than 40");
  },
  stumble() {
    throw new TypeError("no function\n  at all");
  },
  unclonable: () => () => "a function",
  async count(to: number, { emit }: MethodContext) {
    for (let i = 0; i < to; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      emit(i);
    }
    return to;
  },
  untilAborted: (_: unknown, { signal, emit }: MethodContext) =>
    new Promise((_resolve, reject) => {
      const idle = setInterval(() => undefined, 1000);
      signal.addEventListener("abort", () => {
        clearInterval(idle);
        reject(new EpalmError("aborted", "the method was aborted"));
      });
      emit("waiting");
    }),
  /** Runs for a while and ignores cancellation. */
  async compute(milliseconds: number) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return "done";
  },
  die: () => process.exit(3),
  crash() {
    setImmediate(() => {
      throw new RangeError("far out");
    });
    return new Promise(() => undefined);
  },
});
