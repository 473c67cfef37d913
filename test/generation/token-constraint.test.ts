import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { randomStreams } from "../../src/core/random.js";
import { ConstraintCompiler } from "../../src/generation/grammar/token-constraint.js";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { randomSchema } from "../support/random-schemas.js";
import { optWithAnswer, tokenizers } from "../support/tokenizer-fixtures.js";

/** Byte-level and SentencePiece vocabularies, with and without a space before the text. */
const opened: Readonly<Record<string, () => Tokenizer | Promise<Tokenizer>>> = {
  opt: optWithAnswer,
  ...Object.fromEntries(
    ["llama-metaspace", "llama3-split", "gemma-replace", "mistral-prepend", "qwen3-nfc"].map((name) => [
      name,
      () => loadTokenizer(join(tokenizers, name)),
    ]),
  ),
};

/** Draws permitted tokens at random until the end token or `most` tokens. */
function draw(tokenizer: Tokenizer, compiler: ConstraintCompiler, end: number, schema: object, seed: number) {
  const [random = Math.random] = randomStreams(seed, 1);
  const constraint = compiler.compile({ guidedJson: { ...schema } });
  const tokens: number[] = [];
  while (tokens.length < 25) {
    const scores = new Float32Array(tokenizer.vocabularySize + 3);
    constraint.apply(scores, tokens);
    const permitted = Array.from(scores.keys()).filter((id) => scores[id] === 0);
    assert.ok(permitted.length > 0);
    const token = permitted[Math.floor(random() * permitted.length)] ?? end;
    if (token === end) break;
    tokens.push(token);
  }
  return { tokens, text: constraint.complete(tokens, (text) => text) };
}

describe("TokenConstraint", () => {
  for (const [name, open] of Object.entries(opened)) {
    it(`permits only tokens of ${name} with which a document stays possible`, async () => {
      const tokenizer = await open();
      const end = tokenizer.idOf("</s>") ?? tokenizer.idOf("<|endoftext|>") ?? tokenizer.vocabularySize + 1;
      const compiler = new ConstraintCompiler(tokenizer, [end]);
      const ajv = new Ajv2020({ strict: false, validateFormats: false });
      for (let seed = 0; seed < 15; seed++) {
        const schema = randomSchema(seed);
        const { text, tokens } = draw(tokenizer, compiler, end, schema, seed);
        assert.ok(ajv.validate(schema, JSON.parse(text)), `${seed}: ${text} for ${JSON.stringify(schema)}`);
        const decoded = tokenizer.decode(tokens).replace(/\uFFFD+$/, "");
        assert.ok(text.startsWith(decoded.trimStart().slice(0, text.length)) || decoded === "", `${text}, ${decoded}`);
      }
    });
  }
});
