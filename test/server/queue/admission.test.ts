import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EpalmError } from "../../../src/core/errors.js";
import { Admission, type Ticket } from "../../../src/server/queue/admission.js";
import { InFlightRequest } from "../../../src/server/queue/in-flight.js";

const LIMITS = { running: 2, waiting: 1, arriving: 2, bytes: 100 };
const never = new AbortController().signal;
const full = { code: "overloaded" };

/** A request that is whole. */
function whole(admission: Admission): Ticket {
  const ticket = admission.enter();
  ticket.enqueue();
  return ticket;
}

describe("the queue", () => {
  it("gives places to those that are whole, and refuses at once when there is none", () => {
    const admission = new Admission(LIMITS);
    const visits = [whole(admission), whole(admission)];
    const last = admission.enter();
    const late = admission.enter();
    last.enqueue();
    assert.throws(() => late.enqueue(), { ...full, message: /2 that run and 1 that wait/ });
    assert.throws(() => admission.enter(), full);
    assert.equal(admission.isFull, true);
    late.release();
    visits[0]?.release();
    assert.equal(admission.isFull, false);
    assert.deepEqual([admission.waiting, admission.arriving], [2, 0]);
  });

  it("bounds those that arrive, and the bytes of all until they leave", () => {
    const admission = new Admission(LIMITS);
    const [first, second] = [admission.enter(), admission.enter()];
    assert.throws(() => admission.enter(), { ...full, message: /2 requests are arriving/ });
    first.reserve(60);
    first.enqueue();
    second.reserve(40);
    assert.throws(() => second.reserve(1), { ...full, message: /more than 100 bytes/ });
    assert.equal(admission.bytes, 100);
    for (const ticket of [first, second, first]) ticket.release();
    assert.deepEqual([admission.bytes, admission.arriving, admission.waiting], [0, 0, 0]);
    second.reserve(50);
    assert.equal(admission.bytes, 0, "who has left holds nothing");
  });

  it("gives turns in the order in which they were asked for, and passes over who was taken back", async () => {
    const admission = new Admission({ ...LIMITS, running: 1, waiting: 3 });
    const [first, second, third] = [whole(admission), whole(admission), whole(admission)];
    await first?.turn(never);
    const controller = new AbortController();
    const order: string[] = [];
    const taken = second?.turn(controller.signal);
    const next = third?.turn(never).then(() => order.push("third"));
    controller.abort();
    await assert.rejects(async () => taken, { code: "aborted" });
    assert.deepEqual(order, []);
    first?.release();
    await next;
    assert.deepEqual([order, admission.running], [["third"], 1]);
    await assert.rejects(async () => second?.turn(AbortSignal.abort()), { code: "aborted" });
  });

  it("takes nobody once it is closed", () => {
    const admission = new Admission(LIMITS);
    admission.close();
    assert.throws(() => admission.enter(), { ...full, message: /ending/ });
    assert.equal(admission.isFull, true);
  });
});

describe("work", () => {
  const workIn = (admission: Admission) => {
    const work = new InFlightRequest(admission.enter());
    work.enqueue();
    return work;
  };

  it("is not begun when it was given up while its turn came", async () => {
    const admission = new Admission({ ...LIMITS, running: 1 });
    const first = workIn(admission);
    const second = workIn(admission);
    let end: () => void = () => undefined;
    const running = first.run(
      60,
      async () => undefined,
      () =>
        new Promise<void>((resolve) => {
          end = resolve;
        }),
    );
    await new Promise((resolve) => setImmediate(resolve));
    let isBegun = false;
    const waiting = second.run(
      60,
      async () => undefined,
      async () => {
        isBegun = true;
      },
    );
    await new Promise((resolve) => setImmediate(resolve));
    end();
    await running;
    second.cancel(new EpalmError("aborted", "gone"));
    await assert.rejects(waiting, { code: "aborted", message: "gone" });
    assert.deepEqual([isBegun, admission.running, admission.waiting], [false, 0, 0]);
  });

  it("is over at once when it gives itself up before it first waits", async () => {
    const admission = new Admission(LIMITS);
    const work = workIn(admission);
    const over = work.run(
      60,
      async () => undefined,
      () => {
        work.cancel(new EpalmError("aborted", "gone"));
        return new Promise(() => undefined);
      },
    );
    await assert.rejects(over, { code: "aborted", message: "gone" });
    assert.deepEqual([admission.running, admission.waiting], [0, 0]);
  });
});
