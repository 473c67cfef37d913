import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { addressGroup, clientOf } from "../../../src/server/queue/client-of.js";
import { Quota } from "../../../src/server/queue/quota.js";
import { Turns } from "../../../src/server/queue/turns.js";

/** Takes as much as the quota permits. */
function fill(quota: Quota, client: string): number {
  while (quota.refusal(client) === undefined) quota.take(client);
  return quota.held(client);
}

describe("a quota", () => {
  it("gives one client three quarters, and further clients shares of the rest", () => {
    const quota = new Quota(256);
    assert.equal(fill(quota, "first"), 193);
    assert.equal(quota.refusal("first"), "share");
    const second = fill(quota, "second");
    assert.ok(second > 40, `${second}`);
    assert.equal(quota.refusal("third"), undefined);
    quota.giveBack("first", 193);
    assert.ok(fill(quota, "second") > 150, "what is given back is free again");
  });

  it("can be used completely if it is small", () => {
    for (const limit of [1, 2, 3, 4]) assert.equal(fill(new Quota(limit), "only"), limit);
  });

  it("guarantees an amount to every client as long as it is free", () => {
    const quota = new Quota(100, 90);
    quota.take("one", 80);
    assert.equal(quota.refusal("one", 10), undefined);
    assert.equal(quota.refusal("one", 11), "share");
    assert.equal(quota.refusal("one", 21), "full");
  });

  it("never exceeds its limit, and is empty when everything was given back", () => {
    const actions = fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.integer({ min: 1, max: 9 })));
    fc.assert(
      fc.property(actions, fc.integer({ min: 1, max: 40 }), (taken, limit) => {
        const quota = new Quota(limit);
        const held = taken.filter(([client, amount]) => {
          if (quota.refusal(client, amount) !== undefined) return false;
          quota.take(client, amount);
          assert.ok(quota.total <= limit);
          return true;
        });
        for (const [client, amount] of held) quota.giveBack(client, amount);
        assert.deepEqual([quota.total, quota.held("a"), quota.isFull], [0, 0, false]);
      }),
    );
  });
});

describe("turns", () => {
  const never = new AbortController().signal;

  it("go to the client with the fewest running requests", async () => {
    const turns = new Turns(8);
    const order: string[] = [];
    const waiting: Promise<unknown>[] = [];
    for (let at = 0; at < 12; at++) waiting.push(turns.acquire("busy", never).then(() => order.push("busy")));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(order.length, 7, "one place is kept for other clients");
    await turns.acquire("other", never);
    waiting.push(turns.acquire("other", never).then(() => order.push("other")));
    turns.release("busy");
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(order.slice(7), ["other"], "although other requests have waited longer");
    for (let at = 0; at < 11; at++) turns.release("busy");
    await Promise.all(waiting);
    assert.equal(turns.active, 14 - 12);
  });
});

describe("a client", () => {
  it("is known by its key, or by its address", () => {
    assert.equal(clientOf({ keyName: "me", ip: "10.0.0.1" }), "key me");
    assert.equal(clientOf({ keyName: undefined, ip: "10.0.0.1" }), "address 10.0.0.1");
  });

  const groups = [
    ["10.0.0.1", "10.0.0.1"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::1", "2001:db8:1:2::/64"],
    ["not an address", "not an address"],
  ] as const;
  for (const [address, group] of groups) {
    it(`at ${address} belongs to ${group}`, () => assert.equal(addressGroup(address), group));
  }
});
