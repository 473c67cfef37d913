import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { promptTask } from "../../../src/server/dialects/prompt-task.js";

interface Phrase {
  /** The patterns were chosen by looking at one half only. */
  readonly half: "tuning" | "held-out";
  /** Written for this test, or published with LLaVA and InstructBLIP. */
  readonly source: "own" | "published";
  readonly task: "caption" | "vqa";
  readonly text: string;
}

const phrases = JSON.parse(readFileSync("test/fixtures/prompts/phrases.json", "utf8")) as readonly Phrase[];
const task = promptTask();

function accuracy(half: Phrase["half"]): { readonly right: number; readonly all: number; readonly wrong: string[] } {
  const some = phrases.filter((phrase) => phrase.half === half);
  const wrong = some.filter((phrase) => task(phrase.text) !== phrase.task).map(({ text }) => text);
  return { right: some.length - wrong.length, all: some.length, wrong };
}

describe("the task of a prompt", () => {
  it("is right for all phrases by which the table was tuned", () => {
    assert.deepEqual(accuracy("tuning").wrong, []);
  });

  it("is right for at least 95 % of the other phrases, and docs/clients.md states the number", () => {
    const { right, all, wrong } = accuracy("held-out");
    assert.ok(right / all >= 0.95, wrong.join("\n"));
    assert.match(
      readFileSync("docs/clients.md", "utf8").replace(/\s+/g, " "),
      new RegExp(`${right} of ${all} phrases`),
    );
  });

  it("does not depend on capitals, quotes, politeness, personas, line breaks and instructions on the form", () => {
    const around = (text: string) => [
      ...[text.toUpperCase(), `"${text}"`, `'${text}'`, `  ${text}\n`, `Please, ${text.toLowerCase()}`],
      ...[`Hi! ${text} Thanks!`, `You are a friendly assistant.\n${text}`, `${text}\nAnswer in one sentence.`],
      ...[`${text} Keep it under 20 words.`, `## Task\n${text}`, `Act as an expert: ${text}`, `${text}\n\n`],
    ];
    for (const text of around("Describe this picture.")) assert.equal(task(text), "caption", text);
    for (const text of around("What is in this picture?")) assert.equal(task(text), "caption", text);
    for (const text of around("What colour is the car?")) assert.equal(task(text), "vqa", text);
    for (const text of around("How many dogs are there?")) assert.equal(task(text), "vqa", text);
  });

  it("is a question if one of several sentences is a question", () => {
    assert.equal(task("Describe the image. Is there a dog in it?"), "vqa");
    assert.equal(task("What is in this image? Describe it in detail."), "caption");
  });

  it("is a question in other languages unless configured", () => {
    const german = promptTask(["{default}", "beschreib* *", "was (ist|siehst du) auf dem [bild|foto] *"]);
    for (const text of ["Bitte beschreibe das Bild.", "Was ist auf dem Bild zu sehen?", "Beschreib dieses Foto"]) {
      assert.equal(task(text), "vqa", text);
    }
    assert.equal(german("Beschreibe das Bild!"), "caption");
    assert.equal(german("Was ist auf dem Bild?"), "caption");
    assert.equal(german("Describe it."), "caption");
    assert.equal(german("Welche Farbe hat es?"), "vqa");
  });

  it("is fixed by an empty list and by a pattern for everything", () => {
    assert.equal(promptTask([])("Describe the image."), "vqa");
    assert.equal(promptTask(["*"])("What colour is it?"), "caption");
  });

  it("is found fast in long and hostile texts", () => {
    const started = performance.now();
    for (const text of [
      ...["a", "please ", "give a ", "describe ", ",", "\n", "as a, "].map((part) => part.repeat(1_000_000)),
      "a ".repeat(1000),
      "give ".repeat(400),
      "what is ".repeat(250),
      "(".repeat(2000),
      "as a ".repeat(400),
      "- ".repeat(1000),
      "please ".repeat(280),
      "in 1 ".repeat(400),
    ])
      task(text);
    assert.ok(performance.now() - started < 1000);
  });

  it("rejects patterns with unknown sets", () => {
    assert.throws(() => promptTask(["describe {nothing}"]), /expected one of \{picture\}.*got \{nothing\}/);
  });
});
