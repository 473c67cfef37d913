import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeQueueAddress, parseQueueAddress } from "../../../src/server/jobs/queue-address.js";

describe("the address of a queue", () => {
  it("has a default port and database", () => {
    assert.deepEqual(parseQueueAddress("redis://localhost", "--queue"), { host: "localhost", port: 6379, db: 0 });
  });

  it("may have a user, an escaped password and TLS, which descriptions leave out", () => {
    const address = parseQueueAddress("rediss://bob:s%40cret@[::1]:6380/3", "--queue");
    assert.deepEqual(address, { host: "::1", port: 6380, db: 3, username: "bob", password: "s@cret", tls: {} });
    assert.equal(describeQueueAddress(address), "rediss://[::1]:6380/3");
  });

  for (const text of [
    "localhost:6379",
    "http://:s3cret@host",
    "redis://:s3cret@host/x",
    "redis://:s3cret@host/0?a=b",
  ]) {
    it(`is rejected without its password: ${text}`, () => {
      assert.throws(() => parseQueueAddress(text, "EPALM_QUEUE"), {
        code: "invalid_option",
        message: "EPALM_QUEUE: expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB",
      });
    });
  }
});
