import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { optionEntries } from "../../../src/generation/option-table.js";
import { sampleList } from "../../../src/wire.js";
import { problemIn, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture, temporaryFolder } from "../../support/tiny-model.js";

/** The files of the page and the samples, over a real socket. */

const KEY = "a-key-of-sixteen-or-more";

const folder = await buildTinyModel();
const samples = join(folder, "samples");
mkdirSync(samples);
writeFileSync(join(samples, "red bus.png"), await picture());
for (const name of ["a-cat.JPG", "beep.wav", "clip.webm", "song.mp3"]) {
  writeFileSync(join(samples, name), "not looked at");
}
for (const name of [".hidden.png", "notes.txt", "page.svg", "x\\y.png"]) {
  writeFileSync(join(samples, name), "secret");
}
mkdirSync(join(samples, "folder.png"));
symlinkSync(join(folder, "epalm.json"), join(samples, "link.png"));
const running = await startServer({ models: { tiny: folder } });

test("serves the page and the files that it loads unchanged", async () => {
  const index = await get("/");
  assert.equal(index.headers.get("content-type"), "text/html; charset=utf-8");
  const html = await index.text();
  assert.equal(html, readFileSync("src/server/page/index.html", "utf8"));
  const loaded = [...html.matchAll(/(?:src|href)="(page\/[^"]+)"/g)].map(([, path = ""]) => `/${path}`);
  assert.deepEqual(loaded.sort(), ["/page/icon.svg", "/page/page.css", "/page/page.js", "/page/talk.css"]);
  for (const path of loaded) {
    const response = await get(path);
    assert.equal(response.status, 200, path);
    assert.match(response.headers.get("content-type") ?? "", /^(image\/svg\+xml|text\/(css|javascript);)/);
  }
});

test("serves every module that the page imports", async () => {
  const folder = "src/server/page";
  const imported = readdirSync(folder)
    .filter((name) => name.endsWith(".js"))
    .flatMap((name) => Array.from(readFileSync(join(folder, name), "utf8").matchAll(/ from "\.\/(.+)"/g)));
  const names = new Set(imported.map(([, name = ""]) => name));
  assert.ok(names.has("option-table.js"));
  for (const name of names) {
    const response = await get(`/page/${name}`);
    assert.equal(response.headers.get("content-type"), "text/javascript; charset=utf-8", name);
  }
});

test("every numeric input of the page is a generation option", async () => {
  const inputs = (await (await get("/")).text()).matchAll(/<input name="(\w+)" type="number"/g);
  const names = Array.from(inputs, ([, name]) => name);
  assert.deepEqual(names, ["beams", "temperature", "max_tokens", "n"]);
  const numbers = optionEntries.filter(([, { type }]) => type === "integer" || type === "number");
  assert.ok(names.every((name) => numbers.some(([, { wire }]) => wire === name)));
});

test("the policy of the page allows no external content, no inline code and no frames", async () => {
  for (const path of ["/", "/page/page.js", "/page/icon.svg"]) {
    const { headers } = await get(path);
    const policy = headers.get("content-security-policy") ?? "";
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/, path);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.doesNotMatch(policy, /unsafe|\*|https?:/);
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("referrer-policy"), "no-referrer");
  }
});

test("does not send a file that the browser has cached", async () => {
  const etag = (await get("/page/page.css")).headers.get("etag") ?? "";
  const again = await get("/page/page.css", { "if-none-match": etag });
  assert.equal(again.status, 304);
  assert.equal((await get("/page/page.css", { "if-none-match": '"other"' })).status, 200);
});

test("lists the media with plain names as samples and serves them", async () => {
  const list = sampleList.parse(await (await get("/samples")).json());
  assert.deepEqual(list.samples, [
    { model: "tiny", name: "a-cat.JPG", type: "image/jpeg", href: "samples/tiny/a-cat.JPG" },
    { model: "tiny", name: "beep.wav", type: "audio/wav", href: "samples/tiny/beep.wav" },
    { model: "tiny", name: "clip.webm", type: "video/webm", href: "samples/tiny/clip.webm" },
    { model: "tiny", name: "red bus.png", type: "image/png", href: "samples/tiny/red%20bus.png" },
    { model: "tiny", name: "song.mp3", type: "audio/mpeg", href: "samples/tiny/song.mp3" },
  ]);
  const response = await get("/samples/tiny/red%20bus.png");
  assert.equal(response.headers.get("content-type"), "image/png");
  assert.match(response.headers.get("content-security-policy") ?? "", /^default-src 'none'/);
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), await picture());
});

test("lists no samples for a model without samples", async () => {
  const bare = join(temporaryFolder(), "bare");
  cpSync(folder, bare, { recursive: true, filter: (path) => !path.endsWith("samples") });
  const other = await startServer({ models: { bare } });
  assert.deepEqual(await (await fetch(`${other.url}/samples`)).json(), { samples: [] });
});

for (const path of [
  "/samples/tiny/.hidden.png",
  "/samples/tiny/notes.txt",
  "/samples/tiny/page.svg",
  "/samples/tiny/folder.png",
  "/samples/tiny/link.png",
  "/samples/tiny/x%5Cy.png",
  "/samples/tiny/../epalm.json",
  "/samples/tiny/..%2Fepalm.json",
  "/samples/tiny/%2e%2e%2fepalm.json",
  "/samples/tiny/..%5Cepalm.json",
  "/samples/tiny/red%20bus.png%00.png",
  "/samples/%2e%2e/red%20bus.png",
  "/samples/constructor/red%20bus.png",
  "/samples/other/red%20bus.png",
  "/page/../page-routes.ts",
  "/page/..%2Fpage-routes.ts",
  "/page/%2e%2e/page-routes.ts",
  "/page//etc/passwd",
  "/page/index.html",
  "/page/",
]) {
  test(`serves no file for ${path}`, async () => {
    const { status, body } = await rawGet(path);
    assert.equal(status, 404, body);
    assert.equal(JSON.parse(body).code, "not_found");
  });
}

test("requires a key for the samples, but not for the page", async () => {
  const guarded = await startServer({ models: { tiny: folder }, keys: { visitor: KEY } });
  assert.equal((await fetch(`${guarded.url}/`)).status, 200);
  assert.equal((await fetch(`${guarded.url}/page/page.js`)).status, 200);
  for (const path of ["/samples", "/samples/tiny/red%20bus.png"]) {
    await problemIn(await fetch(guarded.url + path), 401);
    const headers = { authorization: `Bearer ${KEY}` };
    assert.equal((await fetch(guarded.url + path, { headers })).status, 200);
  }
});

function get(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(running.url + path, { headers });
}

/** Sends the path unchanged, whereas `fetch` would normalise it. */
function rawGet(path: string): Promise<{ readonly status: number | undefined; readonly body: string }> {
  const { hostname, port } = new URL(running.url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path }, async (response) => {
      const pieces: Buffer[] = [];
      for await (const piece of response) pieces.push(piece as Buffer);
      resolve({ status: response.statusCode, body: Buffer.concat(pieces).toString() });
    })
      .on("error", reject)
      .end();
  });
}
