import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { createTokenizer, loadTokenizer } from "../../src/tokenizer/tokenizer.js";
import {
  addAnswerToken,
  firstFreeToken,
  prepareTokenizer,
  readTokenizerFiles,
} from "../../src/tokenizer/tokenizer-files.js";
import { expected, tokenizers } from "../support/tokenizer-fixtures.js";

const root = mkdtempSync(join(tmpdir(), "epalm-tokenizer-files-"));
after(() => rmSync(root, { recursive: true }));

const optFolder = join(tokenizers, "opt-vocab-merges");

/** A copy of the OPT folder with new content for `file`. */
function changed(file: string, content: string): string {
  const folder = mkdtempSync(join(root, "folder-"));
  cpSync(optFolder, folder, { recursive: true });
  writeFileSync(join(folder, file), content);
  return folder;
}

describe("prepareTokenizer", () => {
  it("creates OPT's tokenizer from vocab.json and merges.txt", async () => {
    const tokenizer = createTokenizer(prepareTokenizer(optFolder), "opt");
    assert.deepEqual(
      expected.texts.map((text) => tokenizer.encode(text)),
      expected.opt,
    );
  });

  it("creates GPT-2's tokenizer, with its own special token and a new id for a padding token", async () => {
    const files = prepareTokenizer(join(tokenizers, "gpt2-vocab-merges"));
    const tokenizer = createTokenizer(files, "gpt2");
    assert.deepEqual(
      expected.texts.map((text) => tokenizer.encode(text)),
      expected.gpt2,
    );
    assert.equal(tokenizer.idOf("<pad>"), 300);
    assert.equal(files.tokenizerConfig.eos_token, "<|endoftext|>");
  });

  it("creates files that are unchanged after writing and reading them", async () => {
    const { tokenizerJson, tokenizerConfig } = prepareTokenizer(optFolder);
    const folder = mkdtempSync(join(root, "written-"));
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizerJson));
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
    assert.deepEqual(readTokenizerFiles(folder).tokenizerJson, JSON.parse(JSON.stringify(tokenizerJson)));
    const tokenizer = loadTokenizer(folder);
    assert.deepEqual(
      tokenizer.encode("a red apple"),
      createTokenizer(prepareTokenizer(optFolder), "").encode("a red apple"),
    );
  });

  it("uses an existing tokenizer.json unchanged", () => {
    const { tokenizerJson, tokenizerConfig } = prepareTokenizer(join(tokenizers, "llama-metaspace"));
    assert.equal(Object.keys(tokenizerJson.model.vocab).length, 480);
    assert.equal(tokenizerConfig.bos_token, "<s>");
  });

  it("starts OPT's texts with `</s>` even if the config does not mention it", () => {
    const silent = changed("tokenizer_config.json", "{}");
    assert.equal(prepareTokenizer(silent).tokenizerConfig.add_bos_token, false);
    writeFileSync(join(silent, "config.json"), '{"model_type": "opt"}');
    assert.equal(prepareTokenizer(silent).tokenizerConfig.add_bos_token, true);
    assert.equal(prepareTokenizer(silent).tokenizerConfig.bos_token, "</s>");
  });

  it("keeps the ids of added_tokens.json and added_tokens_decoder", () => {
    const folder = changed("added_tokens.json", '{"<image>": 400}');
    const config = {
      bos_token: "</s>",
      add_bos_token: true,
      added_tokens_decoder: { 401: { content: "<x>", special: true } },
    };
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(config));
    const added = prepareTokenizer(folder).tokenizerJson.added_tokens;
    const ids = added.map(({ content, id, special }) => [content, id, special]);
    assert.deepEqual(ids.slice(-2), [
      ["<image>", 400, false],
      ["<x>", 401, true],
    ]);
  });

  it("keeps a token named __proto__", async () => {
    const vocab = '{"</s>": 0, "__proto__": 1, "a": 2}';
    const folder = changed("vocab.json", vocab);
    writeFileSync(join(folder, "merges.txt"), "#version: 0.2\n");
    assert.equal(createTokenizer(prepareTokenizer(folder), "").idOf("__proto__"), 1);
  });

  const damaged: readonly [file: string, content: string, message: RegExp][] = [
    ["vocab.json", "[1, 2]", /vocab\.json: expected an object/],
    ["vocab.json", '{"a": -1}', /vocab\.json: expected an object of whole numbers/],
    ["vocab.json", "{", /vocab\.json: is not JSON/],
    ["merges.txt", "#version: 0.2\na b c\n", /merges\.txt: line 2/],
    ["merges.txt", "zz zz\n", /merges\.txt: line 1: .*'zz zz'/],
    ["tokenizer_config.json", '{"bos_token": 7}', /tokenizer_config\.json: 'bos_token'/],
    ["added_tokens.json", '{"x": 1e9}', /added_tokens\.json/],
  ];
  for (const [file, content, message] of damaged) {
    it(`rejects ${file}: ${content}`, () => {
      assert.throws(() => prepareTokenizer(changed(file, content)), { code: "invalid_checkpoint", message });
    });
  }

  it("reports missing files", () => {
    const empty = mkdtempSync(join(root, "empty-"));
    assert.throws(() => prepareTokenizer(empty), {
      code: "not_found",
      message: /tokenizer\.json, or vocab\.json/,
    });
  });
});

describe("a folder with only a SentencePiece file", () => {
  it("is rejected by name, with the way to convert it", () => {
    const folder = mkdtempSync(join(root, "sentencepiece-"));
    writeFileSync(join(folder, "tokenizer.model"), "");
    assert.throws(() => prepareTokenizer(folder), {
      code: "unsupported_architecture",
      message: /tokenizer\.model: SentencePiece files are not read: .*save_pretrained/,
    });
  });
});

describe("addAnswerToken", () => {
  const { tokenizerJson } = prepareTokenizer(optFolder);

  it("adds a special token after the vocabulary", () => {
    assert.equal(firstFreeToken(tokenizerJson), 360);
    const added = addAnswerToken(tokenizerJson, "</a>", 360);
    assert.equal(firstFreeToken(added), 361);
    assert.deepEqual(added.added_tokens.at(-1)?.special, true);
    assert.deepEqual(addAnswerToken(added, "</a>", 360), added, "adding it twice has no further effect");
  });

  it("rejects an id that is in use, and content that has another id", () => {
    const taken = { code: "invalid_option", message: /'<pad>' is already token 1/ };
    assert.throws(() => addAnswerToken(tokenizerJson, "</a>", 1), taken);
    assert.throws(() => addAnswerToken(tokenizerJson, "<pad>", 360), taken);
  });
});
