import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { capabilitiesOf } from "../../src/model/capabilities.js";
import { readManifest } from "../../src/model/manifest.js";
import { normalizeQuestion } from "../../src/model/normalize-question.js";
import { MAX_QUESTION_LENGTH, promptParts } from "../../src/model/tasks.js";

const bundled = readManifest("models/default");
const { questionNormalization: normalization = {} } = bundled.tasks.vqa;

const asked = (question: string) =>
  promptParts(bundled, "vqa", question)
    .map((part) => ("user" in part ? part.user : "literal" in part ? part.literal : "{medium}"))
    .join("");

describe("normalizeQuestion, as the bundled model configures it", () => {
  const target = "what color is the background";
  const same = [
    "What colour is the background?",
    "WHAT COLOUR IS THE BACKGROUND",
    "what  color\nis the background ??",
    "What color is the background.",
    "“What color is the background?”",
    "Hi, what colour is the background?",
    "Hello there! Could you please tell me what color is the background? Thank you very much!",
    "Can you tell me what colour the background is, please?",
    "Good morning. I'd like to know: what colour is the background?",
    "I’d like to know what color the background is",
    "Excuse me, do you know what color the background is? Thanks in advance :)",
    "what color is the background？",
    "So... what colour is the background, please?!",
    "hey!what color is the background",
    "Please kindly tell me what colour is the background exactly",
  ];
  for (const question of same) {
    it(`asks '${target}' for ${JSON.stringify(question)}`, () => {
      assert.equal(asked(question), `${target}?</a>`);
    });
  }

  const others: [string, string][] = [
    ["Can you eat this?", "can you eat this"],
    ["Could you tell me whether there is a cat?", "is there a cat"],
    ["Is the noise grey?", "is the noise gray"],
    ["Which comes first, a bell or a whistle?", "which comes first, a bell or a whistle"],
    ["What is in the background, silence or hiss?", "what is in the background, silence or hiss"],
    ["please what's the background", "what is the background"],
    ["Tell me how many things there are", "how many things are there"],
    ["I wonder where the cat is", "where is the cat"],
    // Nothing remains without small talk, so that its words stay.
    ["Hello!", "hello"],
    ["Thank you very much", "thank you very much"],
    ["please", "please"],
    ["猫はどこですか？", "猫はどこですか"],
  ];
  for (const [question, result] of others) {
    it(`asks '${result}' for ${JSON.stringify(question)}`, () => {
      assert.equal(asked(question), `${result}?</a>`);
    });
  }

  it("never yields an empty question and is fast, for any content", () => {
    const piece = fc.oneof(
      fc.constantFrom("can you tell me", "please", "what", "the", "is", "?", ", ", "if", "hello", "constructor"),
      fc.string({ maxLength: 12, unit: "binary" }),
    );
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 20 }), (pieces) => {
        const question = pieces.join(" ").trim();
        fc.pre(question !== "");
        assert.notEqual(normalizeQuestion(question, normalization), "");
      }),
    );
    const started = performance.now();
    for (const word of ["please ", "what the ", "if is ", "can you tell me ", "the is "]) {
      normalizeQuestion(word.repeat(MAX_QUESTION_LENGTH / word.length), normalization);
    }
    assert.ok(performance.now() - started < 2000);
  });
});

describe("a manifest without normalization", () => {
  it("passes questions on as they are", () => {
    const { questionNormalization, ...vqa } = bundled.tasks.vqa;
    const plain = { ...bundled, tasks: { ...bundled.tasks, vqa } };
    const [, part] = promptParts(plain, "vqa", "Hi, what Colour is it, please?");
    assert.deepEqual(part, { user: "Hi, what Colour is it, please" });
  });
});

describe("capabilitiesOf", () => {
  it("lists the described tasks by modality, and nothing for manifests without descriptions", () => {
    const found = capabilitiesOf(bundled).map(({ task, modality }) => `${modality} ${task}`);
    assert.deepEqual(
      found,
      ["image", "audio", "video"].flatMap((one) => [`${one} caption`, `${one} vqa`]),
    );
    const { capabilities: _, ...caption } = bundled.tasks.caption;
    const { capabilities: __, ...vqa } = bundled.tasks.vqa;
    assert.deepEqual(capabilitiesOf({ ...bundled, tasks: { caption, vqa } }), []);
  });
});
