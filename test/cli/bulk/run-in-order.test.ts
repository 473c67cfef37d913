import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { runInOrder } from "../../../src/cli/bulk/run-in-order.js";
import { EpalmError } from "../../../src/core/errors.js";

const { signal } = new AbortController();
const options = { concurrency: 4, signal, sizeOf: () => 0 };

async function* numbers(count: number): AsyncGenerator<number> {
  for (let at = 0; at < count; at++) yield at;
}

describe("a run in order", () => {
  it("writes results in the order of the items and works on several at a time", async () => {
    let [active, most] = [0, 0];
    const written: number[] = [];
    const work = async (item: number) => {
      most = Math.max(most, ++active);
      await delay(item % 5);
      active--;
      return item;
    };
    await runInOrder(numbers(50), options, work, (_, result) => void written.push(result));
    assert.deepEqual(written, Array.from(written.keys()));
    assert.deepEqual([written.length, most], [50, 4]);
  });

  it("takes only a few items before the first one is written", async () => {
    let taken = 0;
    async function* counted() {
      for await (const item of numbers(1000)) {
        taken++;
        yield item;
      }
    }
    const slow = async (item: number) => delay(item === 0 ? 20 : 0);
    const takenAtWrites: number[] = [];
    await runInOrder(counted(), options, slow, () => void takenAtWrites.push(taken));
    const [atFirst = 0] = takenAtWrites;
    assert.ok(atFirst > 4 && atFirst <= 17, `${atFirst}`);
  });

  it("finishes large items before it takes more", async () => {
    let [held, most] = [0, 0];
    const sizeOf = () => 200 * 1024 * 1024;
    const work = async () => {
      most = Math.max(most, ++held);
      await delay(1);
    };
    await runInOrder(numbers(12), { ...options, sizeOf }, work, () => void held--);
    assert.ok(most <= 2, `${most}`);
  });

  it("writes a result while the next item is awaited", async () => {
    const written: number[] = [];
    async function* waiting() {
      yield 1;
      while (written.length === 0) await delay(1);
      yield 2;
    }
    await runInOrder(
      waiting(),
      options,
      async (item) => item,
      (item) => void written.push(item),
    );
    assert.deepEqual(written, [1, 2]);
  });

  for (const [title, fails] of [
    ["an item", (item: number) => item === 5],
    ["the last item", (item: number) => item === 19],
  ] as const) {
    it(`stops with the error of ${title}, and writes nothing after it`, async () => {
      const written: number[] = [];
      const work = async (item: number) => {
        await delay(1);
        if (fails(item)) throw new EpalmError("invalid_option", "no");
        return item;
      };
      const run = runInOrder(numbers(20), options, work, (item) => void written.push(item));
      await assert.rejects(run, { code: "invalid_option", message: "no" });
      const count = written.length;
      await delay(10);
      assert.equal(written.length, count);
      assert.ok(written.every((item) => !fails(item)));
    });
  }

  it("stops when its signal fires, even if no item arrives", async () => {
    const stopping = new AbortController();
    async function* never() {
      yield 1;
      await new Promise(() => undefined);
    }
    const written: number[] = [];
    const run = runInOrder(
      never(),
      { ...options, signal: stopping.signal },
      async (item) => item,
      (item) => {
        written.push(item);
        stopping.abort();
      },
    );
    await assert.rejects(run, { code: "aborted" });
    assert.deepEqual(written, [1]);
  });
});
