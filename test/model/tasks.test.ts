import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Manifest } from "../../src/model/manifest.js";
import { MAX_QUESTION_LENGTH, promptParts, publishedTasks } from "../../src/model/tasks.js";
import { loadTokenizer } from "../../src/tokenizer/tokenizer.js";

/** Prompts depend only on the tasks of a manifest. */
const withToken = { tasks: publishedTasks(true) } as Manifest;
const withoutToken = { tasks: publishedTasks(false) } as Manifest;

const asText = (manifest: Manifest, question: string) =>
  promptParts(manifest, "vqa", question)
    .map((part) => ("user" in part ? part.user : "literal" in part ? part.literal : "{medium}"))
    .join("");

describe("promptParts", () => {
  const questions: [string, string][] = [
    ["what is it", "what is it"],
    ["what is it?", "what is it"],
    ["  what is it ? ?? \n", "what is it"],
    ["why? because?", "why? because"],
    ["{question}", "{question}"],
  ];
  for (const [given, asked] of questions) {
    it(`asks '${asked}' for ${JSON.stringify(given)}`, () => {
      assert.equal(asText(withToken, given), `${asked}?</a>`);
      assert.equal(asText(withoutToken, given), `Question: ${asked}? Answer:`);
    });
  }

  it("needs no question for a caption", () => {
    assert.deepEqual(promptParts(withToken, "caption", undefined), [{ literal: "" }]);
  });

  for (const empty of [undefined, "", "  \n", "??", " ? "]) {
    it(`rejects ${JSON.stringify(empty)} as a question`, () => {
      assert.throws(() => promptParts(withToken, "vqa", empty), {
        code: "invalid_option",
        message: "question: expected a non-empty string, got none",
      });
    });
  }

  it("rejects a question that is too long, naming the limit, for any content", () => {
    const longest = "x".repeat(MAX_QUESTION_LENGTH);
    assert.equal(asText(withToken, longest), `${longest}?</a>`);
    // A quadratic regular expression would take hours for a million characters.
    for (const long of [`${longest}x`, `${"? ".repeat(500_000)}x`]) {
      assert.throws(() => promptParts(withToken, "vqa", long), {
        code: "too_large",
        message: `question: expected at most ${MAX_QUESTION_LENGTH} characters, got ${long.length}`,
      });
    }
  });

  it("never produces a special token from user input", async () => {
    const tokenizer = loadTokenizer("test/fixtures/goldens/opt-shared-1token/decoder");
    const special = ["<s>", "<pad>", "</s>", "<unk>"];
    const ids = new Set(special.map((content) => tokenizer.idOf(content)));
    const count = (question: string) =>
      tokenizer.encodeTemplate(promptParts(withToken, "vqa", question)).filter((id) => ids.has(id)).length;
    const ofTemplate = count("plain");
    const piece = fc.oneof(fc.constantFrom(...special, "</a>", "?", " "), fc.string({ maxLength: 8 }));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const question = `x${pieces.join("")}`;
        assert.equal(count(question), ofTemplate, question);
      }),
    );
  });
});
