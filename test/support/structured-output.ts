import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { GenerationOptions } from "../../src/generation/options.js";
import type { FinishReason } from "../../src/generation/strategies/strategy.js";
import type { TextRequest } from "../../src/generation/text-generator.js";
import type { GoldenDecoder } from "./golden-decoder.js";
import { randomSchema } from "./random-schemas.js";

/** Schemas whose texts are generated in the same batches. */
const AT_ONCE = 8;

const prompts = ["what is it", "describe the image as JSON", "dogs, dogs, dogs", "äöü 🐕", "{"];

export function requestAbout(golden: GoldenDecoder, text: string, sequence: number): TextRequest {
  return {
    prompt: [{ literal: "" }, { user: text }, { literal: "?</a>" }],
    answerPrefix: "",
    conditioning: golden.conditioning(sequence),
  };
}

function searchOf(seed: number): GenerationOptions {
  const searches = [{}, { temperature: 1, seed }, { temperature: 1.8, seed, numReturnSequences: 2 }, { beams: 3 }];
  return searches[seed % searches.length] ?? {};
}

/**
 * Generates a text for each of many random schemas, with different prompts, searches and limits, and validates all.
 *
 * @returns how often the texts ended for each reason
 */
export async function checkRandomSchemas(
  golden: GoldenDecoder,
  { from, count }: { readonly from: number; readonly count: number },
): Promise<Readonly<Record<FinishReason, number>>> {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const finishes = { end: 0, stop: 0, length: 0 };
  const check = async (seed: number) => {
    const guidedJson = randomSchema(seed);
    const prompt = prompts[seed % prompts.length] ?? "";
    const options = { guidedJson, maxNewTokens: 1 + ((seed * 7) % 38), ...searchOf(seed) };
    const { texts } = await golden.generator.generate(requestAbout(golden, prompt, 0), options);
    const isValid = ajv.compile(guidedJson);
    assert.ok(texts.length > 0);
    for (const { text, finish } of texts) {
      finishes[finish]++;
      const place = `seed ${seed}: ${text} for ${JSON.stringify(guidedJson)}`;
      assert.doesNotThrow(() => JSON.parse(text), place);
      assert.ok(isValid(JSON.parse(text)), `${place}: ${JSON.stringify(isValid.errors)}`);
    }
  };
  for (let start = from; start < from + count; start += AT_ONCE) {
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, from + count - start) }, (_, index) => check(start + index)),
    );
  }
  return finishes;
}
