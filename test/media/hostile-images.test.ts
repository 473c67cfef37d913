import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import sharp from "sharp";
import { EpalmError, type ErrorCode } from "../../src/core/errors.js";
import { decodeImage, type ImageLimits } from "../../src/media/decode/image/image.js";
import type { MediaInput } from "../../src/media/read-media.js";
import { publishedPreprocessing } from "../../src/preprocessing/image-preprocessing.js";

const preprocessing = publishedPreprocessing(32);
const folder = mkdtempSync(join(tmpdir(), "epalm-images-"));
after(() => rmSync(folder, { recursive: true }));

const photo = () => sharp("test/fixtures/media/photo-64x48.png");

/** Asserts a rejection with `code` and a one-line message that matches `text`. */
async function refused(input: MediaInput, code: ErrorCode, text: RegExp, limits?: ImageLimits) {
  await assert.rejects(decodeImage(input, preprocessing, limits), (error) => {
    assert.ok(error instanceof EpalmError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
}

describe("decodeImage rejects", () => {
  const other: readonly [name: string, bytes: Uint8Array][] = [
    ["text", Buffer.from("hello")],
    ["HTML", Buffer.from("<!doctype html><p><svg></svg>")],
    ["MP4", Buffer.from("\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "latin1")],
    ["PDF", Buffer.from("%PDF-1.4\n")],
    ["gzipped SVG", Buffer.from("1f8b0800000000000003", "hex")],
  ];
  for (const [name, bytes] of other) {
    it(`${name}, listing the supported formats`, () =>
      refused(bytes, "unsupported_media", /jpeg, png, webp, gif, tiff, avif, svg/));
  }

  it("empty input", () => refused(new Uint8Array(), "invalid_media", /empty/));

  const formats = [
    ["jpeg", () => photo().jpeg().toBuffer()],
    ["progressive jpeg", () => photo().jpeg({ progressive: true }).toBuffer()],
    ["png", () => photo().png().toBuffer()],
    ["interlaced png", () => photo().png({ progressive: true }).toBuffer()],
    ["webp", () => photo().webp().toBuffer()],
    ["gif", () => photo().gif().toBuffer()],
    ["tiff", () => photo().tiff().toBuffer()],
    ["avif", () => photo().avif({ effort: 1 }).toBuffer()],
  ] as const;
  for (const [name, encoded] of formats) {
    it(`truncated ${name}`, async () => {
      const bytes = await encoded();
      for (const part of [0.1, 0.5, 0.9, 0.97]) {
        await refused(bytes.subarray(0, bytes.length * part), "invalid_media", /cannot be decoded/);
      }
    });
  }

  it("damaged files, with libvips' message only once", async () => {
    const start = (await photo().jpeg().toBuffer()).subarray(0, 300);
    await refused(start, "invalid_media", /^(?!.*premature end.*premature end).*premature end/);
  });

  it("a file that claims more pixels than the limit, before decoding it", async () => {
    const header = "89504e470d0a1a0a0000000d494844520000ea600000ea6008020000000fb0e215";
    const bomb = Buffer.concat([Buffer.from(header, "hex"), (await photo().png().toBuffer()).subarray(33)]);
    await refused(bomb, "too_large", /at most 50000000 pixels.*60000 x 60000/);
  });

  it("an SVG that claims more pixels than the limit", () =>
    refused(
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="60000" height="60000"/>'),
      "too_large",
      /at most 50000000 pixels/,
    ));

  it("a narrow image that would exceed the limit when its shorter side is resized", async () => {
    const strip = await sharp({ create: { width: 1, height: 10_000, channels: 3, background: "red" } })
      .png()
      .toBuffer();
    const byShorterSide = { ...preprocessing, resize: { mode: "shortest-edge", length: 256 } } as const;
    await assert.rejects(decodeImage(strip, byShorterSide), { code: "too_large", message: /256 x 2560000/ });
  });

  it("more bytes or pixels than the caller allows", async () => {
    const png = await photo().png().toBuffer();
    await refused(png, "too_large", /at most 1000 bytes/, { maxBytes: 1000 });
    await refused("test/fixtures/media/photo-64x48.png", "too_large", /at most 1000 bytes/, {
      maxBytes: 1000,
    });
    await refused(png, "too_large", /at most 3071 pixels/, { maxPixels: 3071 });
  });

  it("paths that are not regular files", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    await refused(join(folder, "nothing.png"), "not_found", /nothing\.png: no such file/);
    for (const path of [folder, pipe, "/dev/zero"]) await refused(path, "invalid_media", /not a regular file/);
    await refused("a\0b", "invalid_media", /cannot be read/);
  });

  it("randomly damaged bytes with an EpalmError", async () => {
    const files = await Promise.all(formats.map(([, encoded]) => encoded()));
    const damage = fc.record({
      file: fc.constantFrom(...files),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ file, at, bytes }) => {
        const damaged = Buffer.from(file);
        damaged.set(bytes, Math.floor(at * (file.length - bytes.length)));
        const result = await decodeImage(damaged, preprocessing).catch((error: unknown) => error);
        assert.ok(result instanceof Float32Array || result instanceof EpalmError, String(result));
      }),
      { numRuns: 150 },
    );
  });
});

describe("decodeImage of an SVG", () => {
  const drawing = (content: string, head = "") =>
    Buffer.from(
      `${head}<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="32" height="32">${content}</svg>`,
    );

  it("loads no file and no URL", async () => {
    let visits = 0;
    const server = createServer((_, response) => {
      visits++;
      response.end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const secret = join(folder, "secret.png");
    writeFileSync(
      secret,
      await sharp({ create: { width: 32, height: 32, channels: 3, background: "red" } })
        .png()
        .toBuffer(),
    );
    const blank = await decodeImage(drawing(""), preprocessing);
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/x.png`;
    for (const target of [pathToFileURL(secret).href, secret, "secret.png", address]) {
      const contents = [
        `<image href="${target}" width="32" height="32"/>`,
        `<image xlink:href="${target}" width="32" height="32"/>`,
        `<use href="${target}#a"/>`,
        `<style>@import url("${target}"); rect { fill: url("${target}#a") }</style>`,
        `<rect width="32" height="32" fill="url(${target}#a) white"/>`,
      ];
      for (const content of contents) assert.deepEqual(await decodeImage(drawing(content), preprocessing), blank);
    }
    server.close();
    assert.equal(visits, 0);
  });

  it("reads no entity from a file", async () => {
    const entity = drawing("<text y='20'>&leak;</text>", '<!DOCTYPE svg [<!ENTITY leak SYSTEM "file:///etc/passwd">]>');
    const result = await decodeImage(entity, preprocessing).catch((error: unknown) => error);
    const blank = await decodeImage(drawing(""), preprocessing);
    if (result instanceof Float32Array) assert.deepEqual(result, blank);
    else assert.ok(result instanceof EpalmError && !/root/.test(result.message));
  });

  it("rejects entities that expand exponentially", async () => {
    const entities = Array.from({ length: 9 }, (_, i) => `<!ENTITY e${i + 1} "${`&e${i};`.repeat(10)}">`).join("");
    const laughs = drawing("<text>&e9;</text>", `<!DOCTYPE svg [<!ENTITY e0 "ha">${entities}]>`);
    await assert.rejects(decodeImage(laughs, preprocessing), { code: "invalid_media" });
  });
});
