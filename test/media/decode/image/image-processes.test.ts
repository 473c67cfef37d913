import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import sharp from "sharp";
import { decodeImage } from "../../../../src/media/decode/image/image.js";
import { ImageProcess, type ProcessLimits } from "../../../../src/media/decode/image/image-process.js";
import type { ImageTask } from "../../../../src/media/decode/image/image-task.js";
import { MAX_SVG_BYTES } from "../../../../src/media/decode/image/svg-complexity.js";
import { publishedPreprocessing } from "../../../../src/preprocessing/image-preprocessing.js";

const preprocessing = publishedPreprocessing(32);
const limits: ProcessLimits = { seconds: 20, bytes: 400e6 };
const photo = readFileSync("test/fixtures/media/photo-64x48.png");

const svg = (content: string) =>
  Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="320" height="320">${content}</svg>`);
const rectangles = (count: number) => svg('<rect width="9" height="9"/>'.repeat(count));
/** Takes librsvg minutes; the style sheet hides its references from the check of its complexity. */
const endless = svg(
  `<style>rect{filter:url(#f)}</style><filter id="f"><feTurbulence baseFrequency="0.1" numOctaves="100"/></filter>${'<rect width="320" height="320"/>'.repeat(9000)}`,
);

const taskOf = (bytes: Uint8Array, format: ImageTask["format"]): ImageTask => ({
  ...{ bytes, format, where: "media", maxPixels: 1e8, pixelsHere: 1e8 },
  work: { kind: "pixels", preprocessing },
});
const hasEnded = (id: number | undefined) => {
  if (id === undefined || !existsSync(`/proc/${id}/stat`)) return true;
  // A zombie has not been waited for yet.
  return / Z /.test(readFileSync(`/proc/${id}/stat`, "latin1"));
};
const onLinux = { skip: process.platform !== "linux" && "the limit needs Linux" };

describe("decodeImage rejects a drawing that is too complex before it is drawn:", () => {
  const nested = (depth: number, count: number) => {
    const levels = Array.from({ length: depth }, (_, level) => {
      return `<g id="a${level + 1}">${`<use href="#a${level}"/>`.repeat(count)}</g>`;
    });
    return svg(`<defs><rect id="a0"/>${levels.join("")}</defs><use href="#a${depth}"/>`);
  };
  const chain = Array.from({ length: 500 }, (_, at) => `<g id="c${at + 1}"><use href="#c${at}"/></g>`).join("");
  const drawings: Readonly<Record<string, Buffer>> = {
    bytes: svg(`<!--${" ".repeat(MAX_SVG_BYTES)}-->`),
    elements: rectangles(20_001),
    "nested references": nested(6, 10),
    "deeply nested references": nested(40, 2),
    "a long chain of references": svg(`${chain}<use href="#c500"/>`),
    "nested patterns": svg(
      Array.from({ length: 8 }, (_, at) => {
        return `<pattern id="p${at + 1}">${`<rect fill="url(#p${at})"/>`.repeat(10)}</pattern>`;
      }).join(""),
    ),
    "references in single quotes": Buffer.from(nested(6, 10).toString().replaceAll('"', "'")),
  };
  for (const [what, drawing] of Object.entries(drawings)) {
    it(what, async () => {
      const started = performance.now();
      await assert.rejects(decodeImage(drawing, preprocessing), { code: "too_large", message: /SVG of at most/ });
      assert.ok(performance.now() - started < 1000);
    });
  }

  it("but not ordinary drawings", async () => {
    const gradient = '<linearGradient id="g"><stop/><stop offset="1"/></linearGradient>';
    const cycle = '<g id="x"><use href="#y"/></g><g id="y"><use href="#x"/></g>';
    for (const drawing of [
      rectangles(2000),
      nested(3, 10),
      svg(`${gradient}${'<rect width="5" height="5" fill="url(#g)"/>'.repeat(2000)}`),
      svg(`<!-- <g> " ' --><style><![CDATA[ a > b {} ]]></style><rect width="5" height="5" id="a>b"/>`),
      svg(cycle),
    ]) {
      assert.equal((await decodeImage(drawing, preprocessing)).length, 3 * 32 * 32);
    }
  });
});

describe("ImageProcess", () => {
  it("is killed when an image takes too long", async () => {
    const worker = new ImageProcess({ ...limits, seconds: 1 });
    await assert.rejects(worker.run(taskOf(endless, "svg"), undefined), {
      code: "too_large",
      message: "media: is too complex: decoding took more than 1 seconds",
    });
    assert.equal(worker.isAlive, false);
  });

  it("is killed when an image takes too much memory", onLinux, async () => {
    const worker = new ImageProcess({ ...limits, bytes: 60e6 });
    await assert.rejects(worker.run(taskOf(rectangles(100_000), "svg"), undefined), {
      code: "too_large",
      message: "media: is too complex: decoding took more than 60 MB of memory",
    });
    assert.equal(worker.isAlive, false);
  });

  it("is killed when the request is cancelled", async () => {
    const worker = new ImageProcess(limits);
    const id = worker.processId;
    await assert.rejects(worker.run(taskOf(endless, "svg"), AbortSignal.timeout(500)), { code: "aborted" });
    for (let wait = 0; wait < 50 && !hasEnded(id); wait++) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(hasEnded(id));
  });

  it("decodes further images after an error, and has no cache", async () => {
    const worker = new ImageProcess(limits);
    await assert.rejects(worker.run(taskOf(photo.subarray(0, 500), "png"), undefined), { code: "invalid_media" });
    const pixels = await worker.run(taskOf(photo, "png"), undefined);
    assert.ok(pixels instanceof Float32Array);
    assert.equal(worker.isAlive, true);
    worker.rest(0);
  });

  it("returns an image undecoded that has more pixels than it may decode", async () => {
    const worker = new ImageProcess(limits);
    assert.equal(await worker.run({ ...taskOf(photo, "png"), pixelsHere: 64 * 48 - 1 }, undefined), undefined);
    worker.rest(0);
  });

  it("does not receive the keys of the service", onLinux, async () => {
    process.env.EPALM_API_KEYS = "me=secret";
    const worker = new ImageProcess(limits);
    await worker.run(taskOf(photo, "png"), undefined);
    assert.doesNotMatch(readFileSync(`/proc/${worker.processId}/environ`, "latin1"), /secret|EPALM|NODE_OPTIONS/);
    delete process.env.EPALM_API_KEYS;
    worker.rest(0);
  });
});

describe("a photograph", () => {
  it("does not wait for drawings that take long, and drawings are decoded again after them", async () => {
    const leaving = new AbortController();
    const hostile = Array.from({ length: 8 }, () => decodeImage(endless, preprocessing, {}, leaving.signal));
    const outcomes = Promise.allSettled(hostile);
    await decodeImage(photo, preprocessing);
    const started = performance.now();
    for (let round = 0; round < 5; round++) await decodeImage(photo, preprocessing);
    assert.ok((performance.now() - started) / 5 < 1000, `${(performance.now() - started) / 5} ms`);
    leaving.abort();
    for (const outcome of await outcomes) assert.equal(outcome.status, "rejected");
    assert.equal((await decodeImage(rectangles(10), preprocessing)).length, 3 * 32 * 32);
  });

  it("of 48 megapixels is decoded by a process with higher limits", async () => {
    const large = await sharp({ create: { width: 8000, height: 6000, channels: 3, background: "red" } })
      .jpeg({ quality: 50 })
      .toBuffer();
    assert.equal((await decodeImage(large, preprocessing)).length, 3 * 32 * 32);
  });
});
