import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EpalmError } from "../../../src/core/errors.js";
import { Admission, type Ticket } from "../../../src/server/queue/admission.js";
import { InFlightRequest } from "../../../src/server/queue/in-flight.js";

const LIMITS = { running: 2, waiting: 1, arriving: 2, bytes: 100 };
const never = new AbortController().signal;
const full = { code: "overloaded" };

/** A request whose body is complete. */
function whole(admission: Admission): Ticket {
  const ticket = admission.enter();
  ticket.enqueue();
  return ticket;
}

describe("the queue", () => {
  it("gives places to complete requests, and rejects immediately if there is none", () => {
    const admission = new Admission(LIMITS);
    const visits = [whole(admission), whole(admission)];
    const last = admission.enter();
    const late = admission.enter();
    last.enqueue();
    assert.throws(() => late.enqueue(), { ...full, message: /2 running and 1 waiting/ });
    assert.throws(() => admission.enter(), full);
    assert.equal(admission.isFull, true);
    late.release();
    visits[0]?.release();
    assert.equal(admission.isFull, false);
    assert.deepEqual([admission.waiting, admission.arriving], [2, 0]);
  });

  it("bounds the arriving requests, and the bytes of all requests until they are released", () => {
    const admission = new Admission(LIMITS);
    const [first, second] = [admission.enter(), admission.enter()];
    assert.throws(() => admission.enter(), { ...full, message: /2 requests are already arriving/ });
    first.reserve(60);
    first.enqueue();
    second.reserve(40);
    assert.throws(() => second.reserve(1), { ...full, message: /exceed 100 bytes/ });
    assert.equal(admission.bytes, 100);
    for (const ticket of [first, second, first]) ticket.release();
    assert.deepEqual([admission.bytes, admission.arriving, admission.waiting], [0, 0, 0]);
    second.reserve(50);
    assert.equal(admission.bytes, 0, "a released ticket holds nothing");
  });

  it("gives turns in the order of the calls and skips cancelled requests", async () => {
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

  it("rejects all requests once it is closed", () => {
    const admission = new Admission(LIMITS);
    admission.close();
    assert.throws(() => admission.enter(), { ...full, message: /stopping/ });
    assert.equal(admission.isFull, true);
  });
});

describe("a request in flight", () => {
  const workIn = (admission: Admission) => {
    const work = new InFlightRequest(admission.enter());
    work.enqueue();
    return work;
  };

  it("is not processed if it is cancelled while it gets its turn", async () => {
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

  it("rejects immediately if it cancels itself before it first waits", async () => {
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
