import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readJob } from "../../../src/server/jobs/read-job.js";
import { temporaryFolder } from "../../support/tiny-model.js";

const parent = temporaryFolder();
const folder = join(parent, "uploads");
mkdirSync(join(folder, "a"), { recursive: true });
writeFileSync(join(folder, "a", "x.png"), "image");
writeFileSync(join(folder, "large.png"), "0123456789abc");
writeFileSync(join(parent, "secret.png"), "secret");
symlinkSync(join(parent, "secret.png"), join(folder, "link.png"));
const media = { folder, maxBytes: 12 };
const image = Buffer.from("image").toString("base64");

describe("the data of a job", () => {
  it("are the fields of a request and a task", async () => {
    const ask = await readJob({ task: "vqa", question: "What?", image, max_tokens: 3 }, media);
    assert.equal(ask.task, "vqa");
    assert.deepEqual(ask.fields, { question: "What?", max_tokens: 3 });
    assert.deepEqual(ask.medium, { field: "image", path: "image", bytes: new Uint8Array(Buffer.from("image")) });
  });

  it("may name a file below the media folder", async () => {
    const ask = await readJob({ task: "caption", path: "a/x.png" }, media);
    assert.deepEqual(ask.medium, { field: "media", path: "path", bytes: Buffer.from("image") });
  });

  const outside = /^path: expected a (path|file) below the media folder/;
  const bad: readonly [string, unknown, RegExp][] = [
    ["no object", "caption", /^job: expected an object/],
    ["no task", { image }, /^task: /],
    ["another task", { task: "rank", image }, /^task: /],
    ["no medium", { task: "caption" }, /^media: expected one medium .* got none$/],
    ["two media", { task: "caption", image, path: "a/x.png" }, /^media: expected one medium .* got media and image$/],
    ["an unknown field", { task: "caption", image, colour: 1 }, /colour/],
    ["a question for a caption", { task: "caption", image, question: "What?" }, /question/],
    ["no question", { task: "vqa", image }, /^question: /],
    ["a stream", { task: "caption", image, stream: true }, /^stream: a job returns its whole answer at once$/],
    ["a URL", { task: "caption", image: "https://example.org/x.png" }, /^image: expected base64 or a path, got a URL$/],
    ["no base64", { task: "caption", image: "§" }, /^image: expected base64/],
    ["large base64", { task: "caption", image: "a".repeat(20) }, /^image: expected at most 12 bytes/],
    ["a large file", { task: "caption", path: "large.png" }, /^path: expected at most 12 bytes, got 13$/],
    ["a missing file", { task: "caption", path: "a/y.png" }, /^path: no readable file 'a\/y.png'$/],
    ["a folder", { task: "caption", path: "a" }, outside],
    ["a path outside", { task: "caption", path: "../secret.png" }, outside],
    ["an absolute path", { task: "caption", path: join(parent, "secret.png") }, outside],
    ["a link to the outside", { task: "caption", path: "link.png" }, outside],
  ];
  for (const [name, data, message] of bad) {
    it(`are rejected with ${name}`, () => assert.rejects(readJob(data, media), { name: "EpalmError", message }));
  }

  it("name no files without a media folder", async () => {
    const without = { ...media, folder: undefined };
    await assert.rejects(readJob({ task: "caption", path: "a/x.png" }, without), { message: /no --media-folder/ });
  });
});
