import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import { loadTokenizer, TextStream, type Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { expected, llama, llama3, optWithAnswer, tokenizers } from "../support/tokenizer-fixtures.js";

const all = [
  ["OPT", await optWithAnswer()],
  ["Llama", await llama()],
  ["Llama 3", await llama3()],
] as const;
const [[, opt], [, llamaTokenizer]] = all;

const folder = mkdtempSync(join(tmpdir(), "epalm-tokenizer-"));
after(() => rmSync(folder, { recursive: true }));

describe("encode", () => {
  for (const [index, text] of expected.texts.entries()) {
    it(`gives the same ids as Hugging Face's tokenizers for ${JSON.stringify(text)}`, () => {
      assert.deepEqual(opt.encode(text), expected["opt with </a>"][index]);
      assert.deepEqual(llamaTokenizer.encode(text), expected.llama[index]);
      assert.deepEqual(all[2][1].encode(text), expected.llama3[index]);
    });
  }

  // `input_ids` of golden.safetensors, without padding.
  const goldens = [
    ["opt-6states-mlp10", "two dogs run in the park", [2, 308, 82, 316, 295, 271, 275, 312, 263, 266, 272, 78]],
    ["llama-shared-1token", "two dogs run in the park", [308, 82, 316, 295, 271, 275, 312, 263, 266, 272, 78]],
    ["opt-6states-mlp10", "what is the color of the car", [2, 276, 268, 311, 263, 270, 303, 85, 278, 263, 270, 272]],
  ] as const;
  for (const [name, text, ids] of goldens) {
    it(`gives the ids of ${name} for "${text}"`, async () => {
      const tokenizer = loadTokenizer(`test/fixtures/goldens/${name}/decoder`);
      assert.deepEqual(tokenizer.encode(text), ids);
    });
  }

  it("omits the start token if addSpecialTokens is false", () => {
    assert.deepEqual(opt.encode(""), [2]);
    assert.deepEqual(opt.encode("", { addSpecialTokens: false }), []);
  });

  it("rejects texts above the limit", () => {
    assert.throws(() => opt.encode("x".repeat(100_001)), { code: "too_large", message: /100000/ });
  });
});

describe("tokenizers of newer decoders", () => {
  const folders = { gemma: "gemma-replace", mistral: "mistral-prepend", qwen3: "qwen3-nfc" } as const;
  for (const name of ["gemma", "mistral", "qwen3"] as const) {
    const tokenizer = loadTokenizer(join(tokenizers, folders[name]));
    for (const [index, text] of expected.texts.entries()) {
      it(`${name} gives the ids and the text of Hugging Face's tokenizers for ${JSON.stringify(text)}`, () => {
        const ids = expected[name][index] ?? [];
        assert.deepEqual(tokenizer.encode(text), ids);
        assert.equal(tokenizer.decode(ids), expected[`${name} decoded`][index]);
      });
    }
  }

  it("start with <bos> only if the tokenizer says so", () => {
    const start = (name: string) => loadTokenizer(join(tokenizers, name)).encode("");
    assert.deepEqual([start("gemma-replace"), start("mistral-prepend"), start("qwen3-nfc")], [[2], [1], []]);
  });
});

describe("encodeTemplate", () => {
  const question = (user: string) => [{ user }, { literal: "?</a>" }];

  it("equals encoding the whole text, even if words span parts", () => {
    for (const [, tokenizer] of all) {
      for (const text of ["what is the color of the car", "it'", "  what", "is it ", "日本", ""]) {
        assert.deepEqual(tokenizer.encodeTemplate(question(text)), tokenizer.encode(`${text}?</a>`));
      }
    }
  });

  it("never produces a special token from a user part", () => {
    const special = ["</s>", "<s>", "<pad>", "</a>", "<unk>", "<|end_of_text|>", "<|begin_of_text|>"];
    const piece = fc.constantFrom(...special, "<", "/", "a", ">", "s", " ", "</", "what", "日", "▁", "|");
    const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
    for (const [name, tokenizer] of all) {
      const ids = new Set(special.map((content) => tokenizer.idOf(content)));
      // OPT's vocabulary contains `<s>` and `<unk>` as ordinary tokens.
      if (name === "OPT") for (const plain of ["<s>", "<unk>"]) ids.delete(tokenizer.idOf(plain));
      const holdsNone = fc.property(text, (user) => {
        const tokens = tokenizer.encodeTemplate([{ user }], { addSpecialTokens: false });
        return !tokens.some((token) => ids.has(token));
      });
      fc.assert(holdsNone, { numRuns: 300 });
    }
  });

  it("keeps special tokens in user input as plain text", () => {
    const tokens = opt.encodeTemplate(question("is </a> or </s> right"));
    assert.equal(opt.decode(tokens), "is </a> or </s> right?");
    assert.equal(tokens.filter((token) => token === opt.idOf("</a>")).length, 1);
  });

  it("does not complete a special token that begins in a user part", () => {
    const tokens = opt.encodeTemplate([{ user: "what</a" }, { literal: ">" }], { addSpecialTokens: false });
    assert.equal(opt.decode(tokens), "what</a>");
  });
});

describe("decode", () => {
  it("gives the same text as Hugging Face's tokenizers", () => {
    assert.deepEqual(
      expected["opt with </a>"].map((ids) => opt.decode(ids)),
      expected["opt decoded"],
    );
    assert.deepEqual(
      expected.llama.map((ids) => llamaTokenizer.decode(ids)),
      expected["llama decoded"],
    );
  });

  it("omits ids without a token, which a model can choose if its embedding table is padded", () => {
    assert.equal(opt.decode([opt.vocabularySize, 9999, -1, 1.5]), "");
    assert.equal(opt.decode([]), "");
  });
});

describe("vocabulary", () => {
  it("finds tokens by their exact content", () => {
    assert.equal(opt.idOf("</s>"), 2);
    assert.equal(opt.idOf("</a>"), 360);
    assert.equal(opt.idOf("no such token"), undefined);
    assert.equal(opt.vocabularySize, 361);
  });
});

describe("TextStream", () => {
  const streamed = (tokenizer: Tokenizer, tokens: readonly number[]) => {
    const stream = new TextStream(tokenizer);
    return { pieces: tokens.map((token) => stream.push(token)), rest: stream.end() };
  };

  for (const [name, tokenizer] of all) {
    it(`gives the text of any tokens of ${name}`, () => {
      const tokens = fc.array(fc.nat(tokenizer.vocabularySize), { maxLength: 30 });
      const sameText = fc.property(tokens, (tokens) => {
        const { pieces, rest } = streamed(tokenizer, tokens);
        assert.equal(pieces.join("") + rest, tokenizer.decode(tokens));
      });
      fc.assert(sameText, { numRuns: 500 });
    });

    it(`never returns an incomplete character with ${name}`, () => {
      const tokens = tokenizer.encode("naïve 日本語 🍎 yes");
      const { pieces, rest } = streamed(tokenizer, tokens);
      assert.ok(pieces.length > pieces.filter((piece) => piece !== "").length, "some characters take several tokens");
      assert.doesNotMatch(pieces.join(""), /\uFFFD/);
      assert.deepEqual([pieces.join(""), rest], ["naïve 日本語 🍎 yes", ""]);
    });
  }

  it("returns an incomplete character as U+FFFD at the end and starts again", () => {
    const [first = 0] = opt.encode("ह", { addSpecialTokens: false });
    const stream = new TextStream(opt);
    assert.equal(stream.push(first), "");
    assert.equal(stream.end(), "\uFFFD");
    assert.equal(stream.end(), "");
    const pieces = opt.encode("a red").map((token) => stream.push(token));
    assert.equal(pieces.join(""), "a red");
  });
});

describe("loadTokenizer", () => {
  const good = JSON.parse(readFileSync(`${tokenizers}/llama3-split/tokenizer.json`, "utf8"));
  const damaged: readonly [name: string, content: string, code: string, message: RegExp][] = [
    ["truncated JSON", '{"model": {', "invalid_model", /is not JSON/],
    ["no model", "{}", "invalid_model", /'model'/],
    ["a huge id", JSON.stringify({ ...good, model: { ...good.model, vocab: { a: 1e12 } } }), "invalid_model", /vocab/],
    [
      "another model type",
      JSON.stringify({ model: { type: "Unigram", vocab: [] } }),
      "unsupported_architecture",
      /BPE.*Unigram/,
    ],
    [
      "an unknown pre-tokenizer",
      JSON.stringify({ ...good, pre_tokenizer: { type: "Magic" } }),
      "unsupported_architecture",
      /Magic/,
    ],
    [
      "an unknown post-processor",
      JSON.stringify({ ...good, post_processor: { type: "Magic" } }),
      "unsupported_architecture",
      /post_/,
    ],
  ];
  for (const [name, content, code, message] of damaged) {
    it(`rejects ${name}`, async () => {
      writeFileSync(join(folder, "tokenizer.json"), content);
      assert.throws(() => loadTokenizer(folder), { name: "EpalmError", code, message });
    });
  }

  it("rejects a folder without a tokenizer", async () => {
    assert.throws(() => loadTokenizer(join(folder, "none")), {
      code: "invalid_model",
      message: /expected a file/,
    });
  });
});
