import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { parseServerConfig, type ServerSettings } from "../../../src/server/config.js";
import { problemIn, type Running, startServer } from "../../support/running-server.js";

const KEY = "a-key-of-the-rate-limit-tests";
const rateLimit = { requests: 3, seconds: 60 };

/** Starts a service without models, whose `/v1/models` is limited like all requests to models. */
function start(settings: ServerSettings): Promise<Running> {
  return startServer({ models: {}, logLevel: "info", rateLimit, ...settings });
}

/** The statuses of requests, one after the other. */
async function statuses(count: number, ask: (index: number) => Promise<Response>): Promise<number[]> {
  const all: number[] = [];
  for (let index = 0; index < count; index++) {
    const response = await ask(index);
    await response.arrayBuffer();
    all.push(response.status);
  }
  return all;
}

const forwarded = (url: string, header: string) =>
  fetch(`${url}/v1/models`, { headers: { "x-forwarded-for": header } });

describe("trustProxy", () => {
  const limited: Readonly<Record<string, Pick<ServerSettings, "trustProxy">>> = {
    "a number of proxies": { trustProxy: 1 },
    "a list of addresses": { trustProxy: ["127.0.0.1/32"] },
    "a named range": { trustProxy: ["loopback"] },
    "no proxy": {},
  };
  for (const [what, settings] of Object.entries(limited)) {
    it(`does not let a client choose its address with ${what}`, async () => {
      const { url } = await start(settings);
      const got = await statuses(4, (index) => forwarded(url, `198.51.100.${index}, 203.0.113.7`));
      assert.deepEqual(got, [200, 200, 200, 429]);
    });
  }

  it("distinguishes the clients that the proxy names, with or without a port", async () => {
    const { url } = await start({ trustProxy: 1 });
    assert.deepEqual(await statuses(6, (index) => forwarded(url, `203.0.113.${index}`)), Array(6).fill(200));
    const ports = await statuses(4, (index) => forwarded(url, `203.0.113.99:${5000 + index}`));
    assert.deepEqual(ports, [200, 200, 200, 429]);
    const subnet = await statuses(4, (index) => forwarded(url, `[2001:db8::${index}]:${5000 + index}`));
    assert.deepEqual(subnet, [200, 200, 200, 429]);
  });

  it("counts the hops of several proxies", async () => {
    const { url } = await start({ trustProxy: 2 });
    const got = await statuses(4, (index) => forwarded(url, `198.51.100.${index}, 203.0.113.7, 10.0.0.1`));
    assert.deepEqual(got, [200, 200, 200, 429]);
    assert.equal((await forwarded(url, "198.51.100.1, 203.0.113.8, 10.0.0.1")).status, 200);
  });

  it("uses the address of the proxy, and logs it, if the header contains no address", async () => {
    const { url, log } = await start({ trustProxy: 1 });
    assert.deepEqual(await statuses(4, (index) => forwarded(url, `nobody-${index}`)), [200, 200, 200, 429]);
    assert.doesNotMatch(JSON.stringify(log), /nobody/);
  });

  const invalid: Readonly<Record<string, readonly [value: unknown, message: RegExp]>> = {
    true: [true, /'trustProxy': expected false, the number of proxies .*10\.0\.0\.0\/8.*every client choose/],
    zero: [0, /'trustProxy': expected false, an integer from 1 to 16/],
    "an empty list": [[], /'trustProxy'/],
    "a host name": [["proxy.example.org"], /'trustProxy.*expected an IP address, a range/],
    "an invalid range": [["10.0.0.0/99"], /'trustProxy.*expected an IP address, a range/],
  };
  for (const [what, [trustProxy, message]] of Object.entries(invalid)) {
    it(`rejects ${what}`, () => {
      assert.throws(() => parseServerConfig({ trustProxy }), { code: "invalid_option", message });
    });
  }
});

describe("rate limits", () => {
  let running: Running;
  before(async () => {
    running = await start({ keys: { me: KEY, "127.0.0.1": `${KEY}-2` } });
  });

  const withKey = (path: string, key: string) =>
    fetch(running.url + path, { headers: { authorization: `Bearer ${key}` } });

  it("count wrong keys per address on all routes, delay them, and leave valid keys alone", async () => {
    const started = performance.now();
    const paths = ["/metrics", "/samples", "/v1/models", "/samples/a/b.png", "/metrics"];
    const got = await statuses(5, (index) => withKey(paths[index] ?? "/", `wrong-key-number-${index}`));
    assert.deepEqual(got, [401, 401, 401, 429, 429]);
    assert.ok(performance.now() - started > 700, "wrong keys are not delayed");
    assert.equal((await withKey("/v1/models", `${KEY}-2`)).status, 200);
  });

  for (const path of ["/metrics", "/samples", "/v1/models"]) {
    it(`count requests to ${path}`, async () => {
      const own = await start({ keys: { me: KEY } });
      const headers = { authorization: `Bearer ${KEY}` };
      assert.deepEqual(await statuses(3, () => fetch(own.url + path, { headers })), [200, 200, 200]);
      const refused = await fetch(own.url + path, { headers });
      assert.ok(Number(refused.headers.get("retry-after")) >= 1);
      assert.equal((await problemIn(refused, 429)).code, "rate_limited");
    });
  }

  it("count open metrics by address, apart from requests to models", async () => {
    const own = await start({ keys: { me: KEY }, openMetrics: true });
    assert.deepEqual(await statuses(4, () => fetch(`${own.url}/metrics`)), [200, 200, 200, 429]);
    const headers = { authorization: `Bearer ${KEY}` };
    assert.equal((await fetch(`${own.url}/v1/models`, { headers })).status, 200);
  });

  it("bound the number of delayed responses to wrong keys", async () => {
    const own = await startServer({ models: {}, keys: { me: KEY }, logLevel: "silent" });
    const all = await Promise.all(Array.from({ length: 100 }, () => fetch(`${own.url}/metrics`)));
    const count = (status: number) => all.filter((response) => response.status === status).length;
    assert.ok(count(401) >= 64 && count(429) > 0, `${count(401)} and ${count(429)}`);
    assert.equal(count(401) + count(429), 100);
  });
});
