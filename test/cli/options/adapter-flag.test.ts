import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { collectAdapter } from "../../../src/cli/options/adapter-flag.js";

describe("--adapter NAME=PATH[:TASKS][:MODALITY]", () => {
  const cases = [
    ["a=x.pth", "x.pth", ["caption", "vqa"]],
    ["a=x.pth:caption", "x.pth", ["caption"]],
    ["a=x.pth:vqa", "x.pth", ["vqa"]],
    ["a=x.pth:vqa,caption", "x.pth", ["caption", "vqa"]],
    ["a=dir=1/x.pth", "dir=1/x.pth", ["caption", "vqa"]],
    ["a=C:\\adapters\\x.pth", "C:\\adapters\\x.pth", ["caption", "vqa"]],
    ["a=C:\\adapters\\x.pth:vqa", "C:\\adapters\\x.pth", ["vqa"]],
    ["a=odd:vqa:caption", "odd:vqa", ["caption"]],
    ["a=x.pth:captoin", "x.pth:captoin", ["caption", "vqa"]],
  ] as const;

  for (const [text, path, tasks] of cases) {
    it(`reads ${text}`, () => assert.deepEqual(collectAdapter(text), [{ name: "a", path, tasks }]));
  }

  const withModality = [
    ["a=x.pth:audio", "x.pth", ["caption", "vqa"], "audio"],
    ["a=x.pth:caption:video", "x.pth", ["caption"], "video"],
    ["a=odd:audio:vqa:image", "odd:audio", ["vqa"], "image"],
  ] as const;

  for (const [text, path, tasks, modality] of withModality) {
    it(`reads ${text}`, () => assert.deepEqual(collectAdapter(text), [{ name: "a", path, tasks, modality }]));
  }

  it("keeps the given order", () => {
    const both = collectAdapter("b=y", collectAdapter("a=x"));
    assert.deepEqual(
      both.map(({ name }) => name),
      ["a", "b"],
    );
  });
});
