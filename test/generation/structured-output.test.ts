import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { GenerationOptions } from "../../src/generation/options.js";
import { type GoldenDecoder, openGolden } from "../support/golden-decoder.js";
import { checkRandomSchemas, requestAbout } from "../support/structured-output.js";

describe("structured output", () => {
  let golden: GoldenDecoder;
  before(async () => {
    golden = await openGolden("opt-6states-mlp10");
  });
  after(() => golden.close());

  const generate = (options: GenerationOptions, onText?: (piece: string) => void) =>
    golden.generator.generate(requestAbout(golden, "what is it", 0), options, { onText });

  it("writes documents that match random schemas, whatever ends them", async () => {
    const finishes = await checkRandomSchemas(golden, { from: 0, count: 40 });
    assert.ok(finishes.length > 5 && finishes.end > 5, JSON.stringify(finishes));
  });

  it("chooses one of the given texts, greedily, by sampling and with beams", async () => {
    const guidedChoice = ["a dog", "a cat", " with space", "ä", "a dog house"];
    for (const search of [{}, { temperature: 2, numReturnSequences: 8 }, { beams: 4, numReturnSequences: 4 }]) {
      const { texts } = await generate({ guidedChoice, maxNewTokens: 20, ...search });
      for (const { text } of texts) assert.ok(guidedChoice.includes(text), text);
    }
  });

  it("writes texts that match a regular expression as a whole", async () => {
    const patterns = ["\\d{3}-[a-f]+x?", "(yes|no)(, (yes|no)){2}", "[^a-z]{4}", " *end ", "ä+\\u{1F415}", "a|bc|d.f"];
    for (const guidedRegex of patterns) {
      for (const maxNewTokens of [1, 3, 30]) {
        const { texts } = await generate({ guidedRegex, maxNewTokens, temperature: 1.5, seed: maxNewTokens });
        const text = texts[0]?.text ?? "";
        assert.match(text, new RegExp(`^(?:${guidedRegex})$`, "u"));
      }
    }
  });

  it("streams pieces that join to the text", async () => {
    const guidedJson = { type: "object", properties: { a: { type: "string" } }, required: ["a"] };
    for (const options of [{ guidedJson }, { guidedRegex: " [ab ]{2,8} " }]) {
      for (let seed = 0; seed < 5; seed++) {
        const pieces: string[] = [];
        const { texts } = await generate({ ...options, temperature: 1.5, seed, maxNewTokens: 12 }, (piece) => {
          pieces.push(piece);
        });
        assert.equal(pieces.join(""), texts[0]?.text);
      }
    }
  });

  it("completes a text that a stop string or a minimum of tokens would keep from its form", async () => {
    const guidedRegex = "\\[[a-z]{4,}\\]";
    const { texts } = await generate({ guidedRegex, stop: ["a", "e", "i", "o"], temperature: 2, maxNewTokens: 30 });
    assert.match(texts[0]?.text ?? "", /^\[[a-z]{4,}\]$/);
    const longer = await generate({ guidedChoice: ["x"], minNewTokens: 10, maxNewTokens: 20 });
    assert.equal(longer.texts[0]?.text, "x");
  });

  it("changes neither the text nor the logits of other requests in the same batch", async () => {
    const plain = await generate({ maxNewTokens: 8 });
    const [together] = await Promise.all([
      generate({ maxNewTokens: 8 }),
      generate({ guidedChoice: ["one", "two"], maxNewTokens: 8 }),
    ]);
    assert.deepEqual(together.texts[0]?.tokens, plain.texts[0]?.tokens);
  });

  const deep = (depth: number): object => (depth === 0 ? {} : { type: "array", items: deep(depth - 1) });
  const rejected: readonly (readonly [string, GenerationOptions, RegExp])[] = [
    ["a keyword that a grammar cannot express", { guidedJson: { not: {} } }, /^guidedJson: at '#': not is not supp/],
    ["uniqueItems", { guidedJson: { items: { uniqueItems: true } } }, /^guidedJson: at '#\/items': uniqueItems/],
    ["an unknown type", { guidedJson: { type: "text" } }, /^guidedJson: at '#\/type': expected one or more of/],
    ["a reference to nothing", { guidedJson: { $ref: "#/$defs/x" } }, /^guidedJson: at '#\/\$ref': expected a ref/],
    [
      "a schema without documents",
      { guidedJson: { type: "integer", minimum: 2, maximum: 1 } },
      /^guidedJson: expected a form/,
    ],
    [
      "endless recursion",
      { guidedJson: { type: "array", minItems: 1, items: { $ref: "#" } } },
      /^guidedJson: expected a form/,
    ],
    ["deep nesting", { guidedJson: { ...deep(100) } }, /^guidedJson: expected at most 64 nested schemas/],
    ["a large schema", { guidedJson: { description: "x".repeat(70_000) } }, /^guidedJson: expected at most 65536/],
    ["overlapping options of oneOf", { guidedJson: { oneOf: [{ type: "number" }, { type: "integer" }] } }, /overlap/],
    ["lookahead", { guidedRegex: "(?=a)b" }, /^guidedRegex: in the regular expression, '\(\?=' at character 3/],
    ["an unfinished class", { guidedRegex: "[a" }, /^guidedRegex: in the regular expression/],
    ["repetitions of repetitions", { guidedRegex: "((a{9999}){9999}){9999}" }, /^guidedRegex: expected a form/],
    [
      "two forms",
      { guidedRegex: "a", guidedChoice: ["a"] },
      /^guidedChoice: expected no value together with guidedRegex/,
    ],
    ["an empty list", { guidedChoice: [] }, /^guidedChoice: expected at least one string/],
  ];
  for (const [what, options, message] of rejected) {
    it(`rejects ${what}`, async () => {
      await assert.rejects(generate(options), (error: Error & { code?: string }) => {
        assert.match(error.message, message);
        return error.code === "invalid_option" || error.code === "too_large";
      });
    });
  }
});
