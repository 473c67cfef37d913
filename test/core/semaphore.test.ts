import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Semaphore } from "../../src/core/semaphore.js";

describe("Semaphore", () => {
  it("runs a limited number of operations in order, even if some of them fail", async () => {
    const running = new Semaphore(2);
    const [begun, done]: [number[], (() => void)[]] = [[], []];
    const work = (index: number) => () =>
      new Promise<number>((resolve, reject) => {
        begun.push(index);
        done.push(() => (index === 1 ? reject(new RangeError("no")) : resolve(index)));
      });
    const all = [0, 1, 2, 3].map((index) => running.run(work(index)));
    assert.deepEqual(begun, [0, 1]);
    done[1]?.();
    await assert.rejects(all[1] ?? Promise.resolve(), RangeError);
    assert.deepEqual(begun, [0, 1, 2]);
    done[0]?.();
    assert.equal(await all[0], 0);
    assert.deepEqual(begun, [0, 1, 2, 3]);
    for (const finish of done) finish();
    assert.deepEqual(await Promise.all(all.slice(2)), [2, 3]);
    assert.equal(await running.run(async () => "free"), "free");
  });

  it("cancels operations that wait, but not those that have started", async () => {
    const running = new Semaphore(1);
    let finish = () => {};
    const first = running.run(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
      AbortSignal.timeout(5),
    );
    const leaving = new AbortController();
    const second = running.run(async () => "second", leaving.signal);
    const third = running.run(async () => "third");
    leaving.abort();
    await assert.rejects(second, { code: "aborted" });
    await assert.rejects(
      running.run(async () => "late", AbortSignal.abort()),
      { code: "aborted" },
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    finish();
    await first;
    assert.equal(await third, "third");
  });
});
