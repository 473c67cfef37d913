import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createTokenizer, loadTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.js";
import { addAnswerToken, firstFreeToken, prepareTokenizer } from "../../src/tokenizer/tokenizer-files.js";

/** Written by make-fixtures.py in the same folder. */
export const tokenizers = "test/fixtures/tokenizers";

interface Expected {
  readonly texts: readonly string[];
  readonly opt: readonly number[][];
  readonly "opt with </a>": readonly number[][];
  readonly "opt decoded": readonly string[];
  readonly gpt2: readonly number[][];
  readonly llama: readonly number[][];
  readonly "llama decoded": readonly string[];
  readonly llama3: readonly number[][];
  readonly gemma: readonly number[][];
  readonly "gemma decoded": readonly string[];
  readonly mistral: readonly number[][];
  readonly "mistral decoded": readonly string[];
  readonly qwen3: readonly number[][];
  readonly "qwen3 decoded": readonly string[];
}

export const expected: Expected = JSON.parse(readFileSync(join(tokenizers, "expected.json"), "utf8"));

/** OPT's vocabulary and merges, with eP-ALM's `</a>` after the vocabulary. */
export async function optWithAnswer(): Promise<Tokenizer> {
  const files = prepareTokenizer(join(tokenizers, "opt-vocab-merges"));
  const tokenizerJson = addAnswerToken(files.tokenizerJson, "</a>", firstFreeToken(files.tokenizerJson));
  return createTokenizer({ ...files, tokenizerJson }, "opt");
}

export const llama = () => loadTokenizer(join(tokenizers, "llama-metaspace"));
export const llama3 = () => loadTokenizer(join(tokenizers, "llama3-split"));
