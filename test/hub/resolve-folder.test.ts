import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { EpalmError } from "../../src/core/errors.js";
import type { DownloadProgress } from "../../src/hub/download-file.js";
import { type HubOptions, resolveFolder } from "../../src/hub/resolve-folder.js";
import { HubServer, type ServedFile } from "../support/hub-server.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const id = "some/model";
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) % 256));
const token = "hf_verysecret";
const files: Record<string, ServedFile> = {
  "config.json": { content: Buffer.from("{}") },
  "tokenizer.json": { content: Buffer.from('{"model":1}') },
  "merges.txt": { content: Buffer.alloc(0) },
  "README.md": { content: Buffer.from("# card") },
  "model.safetensors": { content: weights, lfs: true },
  "pytorch_model.bin": { content: weights, lfs: true },
  "onnx/model.onnx": { content: weights, lfs: true },
  "flax_model.msgpack": { content: weights, lfs: true },
};

const base = temporaryFolder();

async function setUp(served: Readonly<Record<string, ServedFile>> = files) {
  const hub = await new HubServer(id, served).start();
  const cacheFolder = mkdtempSync(join(base, "cache-"));
  const snapshot = join(cacheFolder, "some--model", "snapshots", hub.commit);
  const options: HubOptions = { endpoint: hub.endpoint, cacheFolder, retryDelayMs: 1 };
  return { hub, options, snapshot };
}

/** Leaves the first bytes of the weights in the place where a killed download would have left them. */
function leavePart(snapshot: string, content: Buffer): string {
  const part = join(snapshot, "model.safetensors.part");
  mkdirSync(dirname(part), { recursive: true });
  writeFileSync(part, content);
  return part;
}

/** An `EpalmError` on one line that contains neither the token nor the signature of the CDN's URL. */
function failure(code: string, cause: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof EpalmError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, cause);
    assert.doesNotMatch(error.message, /verysecret|Signature|\n/);
    return true;
  };
}

describe("resolveFolder", () => {
  it("returns a local path unchanged", async () => {
    assert.equal(await resolveFolder(base, { offline: true }), base);
  });

  it("downloads the files that building needs, with weights in one format", async () => {
    const { hub, options, snapshot } = await setUp();
    assert.equal(await resolveFolder(id, options), snapshot);
    const expected = ["README.md", "config.json", "merges.txt", "model.safetensors", "tokenizer.json"];
    assert.deepEqual(readdirSync(snapshot).sort(), expected);
    for (const name of expected) assert.deepEqual(readFileSync(join(snapshot, name)), files[name]?.content);
    assert.deepEqual(hub.downloads.sort(), expected);
  });

  it("downloads nothing twice and sends no request for a cached commit", async () => {
    const { hub, options, snapshot } = await setUp();
    await resolveFolder(id, options);
    const { length } = hub.downloads;
    await resolveFolder(id, options);
    assert.equal(hub.downloads.length, length);
    hub.seen.length = 0;
    assert.equal(await resolveFolder(`${id}@${hub.commit}`, options), snapshot);
    assert.deepEqual(hub.seen, []);
  });

  it("reads listings of several pages", async () => {
    const { hub, options, snapshot } = await setUp();
    hub.pageSize = 2;
    await resolveFolder(id, options);
    assert.ok(existsSync(join(snapshot, "model.safetensors")));
  });

  it("downloads torch files if there is no safetensors, with all shards of an index", async () => {
    const shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    const names = ["config.json", "pytorch_model.bin.index.json", ...shards];
    const { options, snapshot } = await setUp(
      Object.fromEntries(names.map((name) => [name, { content: Buffer.from(name) }])),
    );
    await resolveFolder(id, options);
    assert.deepEqual(readdirSync(snapshot).sort(), names.sort());
  });

  it("downloads exactly the files that patterns name", async () => {
    const { options, snapshot } = await setUp();
    await resolveFolder(id, { ...options, files: ["onnx/*.onnx", "*.txt"] });
    assert.deepEqual(readdirSync(snapshot).sort(), ["merges.txt", "onnx"]);
    await assert.rejects(
      resolveFolder(id, { ...options, files: ["*.gguf"] }),
      failure("not_found", /some\/model@main has none of the files \*\.gguf/),
    );
  });

  it("reports progress", async () => {
    const { options } = await setUp();
    const seen: DownloadProgress[] = [];
    await resolveFolder(id, { ...options, onProgress: (progress) => seen.push(progress) });
    const last = seen.filter(({ file }) => file === "model.safetensors").at(-1);
    assert.deepEqual(last, { file: "model.safetensors", receivedBytes: 300_000, totalBytes: 300_000 });
  });

  it("sends the token to the endpoint, and to no other host", async () => {
    const { hub, options } = await setUp();
    await resolveFolder(id, { ...options, token });
    const endpoint = new URL(hub.endpoint).host;
    const hosts = new Set(hub.seen.map(({ host }) => host));
    assert.equal(hosts.size, 2);
    for (const { host, authorization } of hub.seen) {
      assert.equal(authorization, host === endpoint ? `Bearer ${token}` : undefined);
    }
  });
});

describe("interrupted downloads", () => {
  it("resume where the connection was cut", async () => {
    const { hub, options, snapshot } = await setUp();
    let cut = false;
    hub.intercept = ({ path }, response) => {
      if (!path.startsWith("/model.safetensors") || cut) return false;
      cut = true;
      response.writeHead(200, { "content-length": weights.length });
      response.write(weights.subarray(0, 100_000), () => response.destroy());
      return true;
    };
    await resolveFolder(id, options);
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
    assert.equal(hub.seen.filter(({ range }) => range === "bytes=100000-").length, 2);
  });

  it("resume a part that an earlier process left", async () => {
    const { hub, options, snapshot } = await setUp();
    const part = leavePart(snapshot, weights.subarray(0, 1234));
    await resolveFolder(id, options);
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
    assert.ok(hub.seen.some(({ range }) => range === "bytes=1234-"));
    assert.equal(existsSync(part), false);
  });

  it("need no request if all bytes had arrived before", async () => {
    const { hub, options, snapshot } = await setUp();
    leavePart(snapshot, weights);
    await resolveFolder(id, options);
    assert.equal(hub.downloads.includes("model.safetensors"), false);
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  });

  it("restart if the server ignores ranges", async () => {
    const { hub, options, snapshot } = await setUp();
    hub.ranges = false;
    leavePart(snapshot, Buffer.alloc(1234, "x"));
    await resolveFolder(id, options);
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  });

  it("restart if the server answers 416 or with another range", async () => {
    for (const headers of [undefined, { "content-range": "bytes 5-299999/300000" }]) {
      const { hub, options, snapshot } = await setUp();
      leavePart(snapshot, weights.subarray(0, 1234));
      hub.intercept = ({ range }, response) => {
        if (range === undefined) return false;
        response.writeHead(headers ? 206 : 416, headers).end(headers && weights.subarray(5));
        return true;
      };
      await resolveFolder(id, options);
      assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
    }
  });

  it("restart if the part is larger than the file", async () => {
    const { options, snapshot } = await setUp();
    leavePart(snapshot, Buffer.alloc(weights.length + 1));
    await resolveFolder(id, options);
    assert.deepEqual(readFileSync(join(snapshot, "model.safetensors")), weights);
  });

  it("are retried if the server is busy, after the requested delay", async () => {
    const { hub, options, snapshot } = await setUp();
    const statuses = [500, 503, 429];
    hub.intercept = (_, response) => {
      const status = statuses.pop();
      if (status === undefined) return false;
      response.writeHead(status, status === 429 ? { "retry-after": "0" } : {}).end();
      return true;
    };
    await resolveFolder(id, options);
    assert.ok(existsSync(join(snapshot, "model.safetensors")));
  });

  it("end when they are cancelled, even while waiting", async () => {
    const { hub, options } = await setUp();
    const controller = new AbortController();
    hub.intercept = (_, response) => {
      response.writeHead(503, { "retry-after": "50" }).end();
      setTimeout(() => controller.abort(), 20);
      return true;
    };
    await assert.rejects(
      resolveFolder(id, { ...options, signal: controller.signal }),
      failure("aborted", /was cancelled/),
    );
    const aborted = { ...options, signal: AbortSignal.abort() };
    await assert.rejects(resolveFolder(id, aborted), failure("aborted", /was cancelled/));
  });
});

describe("downloads that fail", () => {
  it("reject content with another digest and remove it", async () => {
    for (const name of ["model.safetensors", "config.json"]) {
      const file = files[name];
      assert.ok(file);
      const claimedDigest = "0".repeat(file.lfs ? 64 : 40);
      const { options, snapshot } = await setUp({ ...files, [name]: { ...file, claimedDigest } });
      await assert.rejects(
        resolveFolder(id, options),
        failure("download_failed", new RegExp(`${name}: the .* is not`)),
      );
      assert.equal(
        readdirSync(snapshot).some((present) => present.startsWith(name)),
        false,
      );
    }
  });

  it("reject more bytes than were announced", async () => {
    const { hub, options } = await setUp();
    hub.intercept = ({ path }, response) => {
      if (!path.endsWith("/config.json")) return false;
      response.end("a longer text");
      return true;
    };
    await assert.rejects(resolveFolder(id, options), failure("download_failed", /config\.json: more bytes/));
  });

  it("give up on a server that stays broken or cuts every connection", async () => {
    const { hub, options } = await setUp();
    hub.intercept = (_, response) => {
      response.writeHead(502).end();
      return true;
    };
    await assert.rejects(resolveFolder(id, options), failure("download_failed", /answered 502/));
    assert.equal(hub.seen.length, 6);
    hub.intercept = (_, response) => {
      response.destroy();
      return true;
    };
    await assert.rejects(resolveFolder(id, options), failure("download_failed", /some\/model@main: /));
  });

  const statuses: [number, string | undefined, string, RegExp][] = [
    [401, undefined, "download_failed", /access denied \(401\).*provide a token/],
    [403, token, "download_failed", /access denied \(403\).*the token has no access/],
    [404, undefined, "not_found", /no such model, revision or file/],
    [418, undefined, "download_failed", /answered 418/],
  ];
  for (const [status, given, code, cause] of statuses) {
    it(`explain a response with status ${status}`, async () => {
      const { hub, options } = await setUp();
      hub.intercept = (_, response) => {
        response.writeHead(status).end("a page");
        return true;
      };
      await assert.rejects(resolveFolder(id, { ...options, token: given }), failure(code, cause));
      assert.equal(hub.seen.length, 1);
    });
  }

  const answers: [string, string, RegExp][] = [
    ["invalid JSON", "<html>", /not JSON/],
    ["no commit", '{"sha":"../../etc"}', /contains no commit/],
  ];
  for (const [what, body, cause] of answers) {
    it(`reject a response that contains ${what}`, async () => {
      const { hub, options } = await setUp();
      hub.intercept = (_, response) => {
        response.end(body);
        return true;
      };
      await assert.rejects(resolveFolder(id, options), failure("download_failed", cause));
    });
  }

  it("reject endless redirects and invalid addresses", async () => {
    for (const location of ["/again", "http://[bad"]) {
      const { hub, options } = await setUp();
      hub.intercept = (_, response) => {
        response.writeHead(302, { location }).end();
        return true;
      };
      await assert.rejects(resolveFolder(id, options), failure("download_failed", /redirected/));
    }
  });

  it("reject file names that would leave the cache", async () => {
    for (const name of ["../config.json", "/etc/config.json", "a/../../config.json", "c:\\config.json"]) {
      const { hub, options } = await setUp({ [name]: { content: Buffer.from("{}") } });
      const everything = { ...options, files: [name] };
      await assert.rejects(resolveFolder(id, everything), failure("download_failed", /would leave the cache/));
      assert.deepEqual(hub.downloads, []);
    }
  });

  it("name the files that a model without weights lacks", async () => {
    const { options } = await setUp({ "config.json": { content: Buffer.from("{}") } });
    await assert.rejects(resolveFolder(id, options), failure("not_found", /none of the files model\.safetensors/));
  });

  const unusable: [string, HubOptions & { id?: string }, string][] = [
    ["a token that a header cannot contain", { token: "hf_verysecret\n" }, "invalid_option"],
    ["an endpoint that is not an address", { endpoint: "huggingface" }, "invalid_option"],
    ["an endpoint with a password", { endpoint: "https://me:verysecret@hub" }, "invalid_option"],
    ["a string that is neither a path nor an id", { id: "../no/such/folder" }, "not_found"],
    ["an id that leaves its folder", { id: "some/..", offline: true }, "not_found"],
    ["an id with two revisions", { id: "a/b@c@d" }, "not_found"],
  ];
  for (const [what, { id: other = id, ...options }, code] of unusable) {
    it(`reject ${what}`, async () => {
      await assert.rejects(resolveFolder(other, { cacheFolder: base, ...options }), failure(code, /./));
    });
  }
});

describe("offline", () => {
  it("uses downloaded files, by branch and by commit", async () => {
    const { hub, options, snapshot } = await setUp();
    await resolveFolder(id, options);
    hub.seen.length = 0;
    assert.equal(await resolveFolder(id, { ...options, offline: true }), snapshot);
    assert.equal(await resolveFolder(`${id}@${hub.commit}`, { ...options, offline: true }), snapshot);
    assert.deepEqual(hub.seen, []);
  });

  it("reports a missing model, or which of its files are missing", async () => {
    const { hub, options } = await setUp();
    const offline = { ...options, offline: true };
    await assert.rejects(resolveFolder(id, offline), failure("not_found", /some\/model@main is not in the cache/));
    assert.deepEqual(hub.seen, []);
    await resolveFolder(id, { ...options, files: ["config.json"] });
    const missing = /the cache lacks tokenizer\.json, merges\.txt, README\.md, model\.safetensors/;
    await assert.rejects(resolveFolder(id, offline), failure("not_found", missing));
  });
});
