import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fetchMedium, isPublic } from "../../../src/server/requests/remote-media.js";

const limits = { hosts: ["pictures.example"], maxBytes: 1000, seconds: 2, redirects: 2 };

/** A network in which all host names resolve to one IP address, like the resolver of an attacker. */
const leadingTo = (address: string) => ({
  lookup: (
    _host: string,
    _options: unknown,
    callback: (error: NodeJS.ErrnoException | null, found: { address: string; family: number }[]) => void,
  ) => callback(null, [{ address, family: address.includes(":") ? 6 : 4 }]),
  isPublic,
});

const attempt = (url: string, address = "127.0.0.1") =>
  fetchMedium(url, "image", limits, new AbortController().signal, leadingTo(address) as never);

describe("private IP addresses", () => {
  const inner = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
  ];
  for (const address of inner) {
    it(`rejects ${address} after resolution`, async () => {
      assert.equal(isPublic(address), false);
      await assert.rejects(attempt("https://pictures.example/a.png", address), { field: "image" });
    });
  }

  it("do not include public addresses", () => {
    for (const address of ["93.184.216.34", "2606:2800:220:1::1"]) assert.equal(isPublic(address), true);
  });
});

describe("URLs in requests", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["http://pictures.example/a.png", /expected an https URL/],
    ["ftp://pictures.example/a.png", /expected an https URL/],
    ["https://other.example/a.png", /other\.example: is not an allowed host/],
    ["https://pictures.example:8443/a.png", /is not an allowed host/],
    ["https://user:secret@pictures.example/a.png", /without a user name/],
    ["https://pictures.example.other.example/a.png", /is not an allowed host/],
  ];
  for (const [url, message] of refused) {
    it(`rejects ${url}`, async () => {
      await assert.rejects(attempt(url), { code: "invalid_option", field: "image", message });
    });
  }

  it("are disabled if the operator allows no hosts", async () => {
    const none = { ...limits, hosts: [] };
    const { signal } = new AbortController();
    await assert.rejects(fetchMedium("https://pictures.example/a.png", "image", none, signal), /URLs are disabled/);
  });
});
