import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import sharp from "sharp";
import { remoteLimits } from "../../../src/cli/bulk/remote/https-file.js";
import { fetchMedium, isPublic, type Network } from "../../../src/server/requests/remote-media.js";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../../support/cli-process.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const tls = join("test", "fixtures", "tls");
const certificate = readFileSync(join(tls, "certificate.pem"), "utf8");

let photo: Buffer;
const requested: string[] = [];
const server = createServer({ cert: certificate, key: readFileSync(join(tls, "key.pem")) }, (request, response) => {
  const { url = "" } = request;
  requested.push(url);
  const { pathname, searchParams } = new URL(url, "https://pictures.example");
  const to = searchParams.get("to");
  if (to !== null) response.writeHead(302, { location: to }).end();
  else if (pathname === "/text.png") response.end("not an image");
  else if (pathname === "/cut.png")
    response.writeHead(200, { "content-length": 9 }).write("x", () => response.destroy());
  else if (/^\/[ab]/.test(pathname)) response.end(photo);
  else if (pathname === "/slow.png") response.writeHead(200).write("x");
  else response.writeHead(404).end();
});
const port = () => (server.address() as AddressInfo).port;
const at = (path: string, host = "pictures.example") => `https://${host}:${port()}${path}`;

/** Names lead to the test's server, which counts as public, except one with a private address. */
const network: Network = {
  lookup: (host, _options, callback) =>
    callback(null, [{ address: host === "inner.example" ? "10.1.2.3" : "127.0.0.1", family: 4 }]),
  isPublic: (address) => address === "127.0.0.1" || isPublic(address),
  ca: certificate,
};

const run = (...args: string[]) => epalm([...args, ...on], { network });
const allowing = () => ["--allow-host", `pictures.example:${port()}`, "--allow-host", `inner.example:${port()}`];
const linesOf = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

before(async () => {
  photo = await sharp({ create: { width: 40, height: 30, channels: 3, background: "teal" } })
    .png()
    .toBuffer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  writeFileSync(join(folder, "here.png"), photo);
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

after(() => {
  server.closeAllConnections();
  server.close();
});

describe("media that are URLs", () => {
  it("give the answers of their content: as arguments, in lists, CSV files and files of questions", async () => {
    const here = join(folder, "here.png");
    const url = at("/a/{1}.png?width=40&tag=[x]*");
    const { stdout: text } = await run("caption", here);
    assert.deepEqual(await run("caption", url, ...allowing()), { code: 0, stdout: text, stderr: "" });

    writeFileSync(join(folder, "list.txt"), `${url}\n${here}\n`);
    const list = await run("caption", `@${join(folder, "list.txt")}`, ...allowing(), "--json");
    const found = linesOf(list.stdout).map((line) => [line.file, line.text]);
    assert.deepEqual(
      found,
      [url, here].map((file) => [file, JSON.parse(`"${text.trimEnd()}"`)]),
    );

    writeFileSync(join(folder, "table.csv"), `file,id\n"${url}",1\nhere.png,2\n`);
    const table = await run("caption", join(folder, "table.csv"), ...allowing(), "--json");
    assert.deepEqual(
      linesOf(table.stdout).map(({ file, input }) => [file, input.id]),
      [
        [url, "1"],
        ["here.png", "2"],
      ],
    );

    const asked = [
      { image: url, question: "what?" },
      { image: "here.png", question: "what?" },
    ];
    writeFileSync(join(folder, "asked.jsonl"), asked.map((line) => JSON.stringify(line)).join("\n"));
    const answers = await run("vqa", "--questions", join(folder, "asked.jsonl"), ...allowing(), "--json");
    const [remote, local] = linesOf(answers.stdout);
    assert.deepEqual([remote.file, remote.text], [url, local.text]);
  });

  it("follow redirects to allowed hosts only", async () => {
    const { code, stderr } = await run("caption", at(`/a?to=${at("/b.png")}`), ...allowing());
    assert.deepEqual([code, stderr], [0, ""]);
    const other = await run("caption", at(`/a?to=${at("/b.png", "other.example")}`), ...allowing());
    assert.equal(other.code, 1);
    assert.match(other.stderr, new RegExp(`: expected --allow-host other\\.example:${port()}, which permits`));
  });

  it("are refused without --allow-host, which no request is made for", async () => {
    requested.length = 0;
    const { code, stdout, stderr } = await run("caption", at("/a.png"), "--json");
    const [{ file, error }] = linesOf(stdout);
    assert.deepEqual([code, file, error.code, requested], [1, at("/a.png"), "invalid_option", []]);
    const message = `${at("/a.png")}: expected --allow-host pictures.example:${port()}, which permits to fetch media`;
    assert.ok(stderr.includes(message), stderr);
  });

  it("that fail are one failed record each, and tried again by the next run", async () => {
    const output = join(folder, "out.jsonl");
    const failing: readonly (readonly [url: string, code: string, message: RegExp])[] = [
      [at("/missing.png"), "invalid_media", /the host answered with status 404/],
      [at("/text.png"), "unsupported_media", /text\.png: /],
      [at("/cut.png"), "invalid_media", /aborted/],
      [at("/a.png", "inner.example"), "invalid_option", /inner\.example: the IP address is not public/],
      [at("/a.png", "10.1.2.3"), "invalid_option", /expected --allow-host 10\.1\.2\.3/],
      [at("/a.png").replace("https", "http"), "invalid_option", /expected an https URL/],
      ["https://", "invalid_option", /expected an https URL/],
      [at("/a.png").replace("//", "//user:secret@"), "invalid_option", /without a user name/],
      [at("/a?to=/a?to=/a?to=/a?to=/a.png"), "invalid_media", /more than 3 redirects/],
    ];
    const urls = [...failing.map(([url]) => url), at("/b.png")];
    const args = ["caption", ...urls, ...allowing(), "--output", output];
    const { code } = await run(...args);
    assert.equal(code, 1);
    const lines = linesOf(readFileSync(output, "utf8"));
    for (const [index, [url, expected, message]] of failing.entries()) {
      assert.deepEqual([lines[index].file, lines[index].error?.code], [url, expected], JSON.stringify(lines[index]));
      assert.match(lines[index].error.message, message);
    }
    assert.deepEqual([lines.length, lines.at(-1).error], [urls.length, undefined]);
    requested.length = 0;
    await run(...args);
    assert.ok(requested.includes("/missing.png") && !requested.includes("/b.png"));
  });

  it("are limited in size and time", async () => {
    const { signal } = new AbortController();
    const limits = { ...remoteLimits([`pictures.example:${port()}`]), seconds: 0.3 };
    const fetched = (path: string, maxBytes: number) =>
      fetchMedium(at(path), at(path), { ...limits, maxBytes }, signal, network);
    assert.deepEqual(await fetched("/a.png", photo.length), photo);
    await assert.rejects(fetched("/a.png", photo.length - 1), {
      code: "too_large",
      message: /: expected at most \d+ bytes/,
    });
    await assert.rejects(fetched("/slow.png", 9), { code: "invalid_media", message: /did not finish within 0\.3 s/ });
  });

  it("have sidecars below a folder, and none beside them or in shards", async () => {
    const sidecars = join(folder, "sidecars");
    const { code } = await run("caption", at("/a/one.png"), ...allowing(), "--sidecar", "txt", "--output", sidecars);
    assert.equal(code, 0);
    assert.ok(readFileSync(join(sidecars, `pictures.example_${port()}`, "a", "one.txt"), "utf8").endsWith("\n"));
    const refused: readonly (readonly [args: readonly string[], message: RegExp])[] = [
      [["--sidecar", "txt"], /--sidecar: https:\S+ is not a file; expected --output with a folder/],
      [["--output", join(folder, "out.tar")], /--output: https:\S+ is not a file, which a sample could contain/],
      [["--allow-host", "https://pictures.example"], /--allow-host: .*expected a lower-case host, or host:port/],
    ];
    for (const [args, message] of refused) {
      const { code, stderr } = await run("caption", at("/a.png"), ...args);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  });

  it("are not fetched from private addresses by the command itself", async () => {
    requested.length = 0;
    const url = `https://127.0.0.1:${port()}/a.png`;
    const { code, stderr } = await epalmProcess(["caption", url, "--allow-host", `127.0.0.1:${port()}`, ...on]);
    assert.deepEqual([code, requested], [1, []]);
    assert.match(stderr, /the IP address is not public/);
  });
});
