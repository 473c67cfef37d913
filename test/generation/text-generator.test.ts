import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { GenerationOptions } from "../../src/generation/options.js";
import type { TextRequest } from "../../src/generation/text-generator.js";
import { type GoldenDecoder, goldens, openGolden } from "../support/golden-decoder.js";
import { answerLogProbs } from "./full-forward.js";

const TOLERANCE = 1e-4;

const questions = ["what is it", "wh", "the color of the car", "dogs, dogs, dogs", "äöü 🐕"];

function question(golden: GoldenDecoder, text: string, sequence = 0): TextRequest {
  return {
    prompt: [{ literal: "" }, { user: text }, { literal: "?</a>" }],
    answerPrefix: "",
    conditioning: golden.conditioning(sequence),
  };
}

describe("TextGenerator", () => {
  let golden: GoldenDecoder;
  before(async () => {
    golden = await openGolden("opt-6states-mlp10");
  });
  after(() => golden.close());

  async function streamed(
    request: TextRequest,
    options: GenerationOptions,
  ): Promise<{ pieces: string[]; text: string }> {
    const pieces: string[] = [];
    const { texts } = await golden.generator.generate(request, options, { onText: (piece) => pieces.push(piece) });
    return { pieces, text: texts[0]?.text ?? "" };
  }

  it("streams pieces that join to the final text, including invalid characters", async () => {
    for (const text of questions) {
      for (let seed = 0; seed < 12; seed++) {
        const options = { temperature: seed % 2 === 0 ? 2 : 0.7, seed, maxNewTokens: 20 };
        const { pieces, text: final } = await streamed(question(golden, text), options);
        assert.equal(pieces.join(""), final, `'${text}', seed ${seed}`);
        assert.ok(pieces.every((piece) => piece !== ""));
      }
    }
  });

  it("streams the whole text at the end with beams or several texts", async () => {
    for (const options of [{ beams: 3 }, { temperature: 1, numReturnSequences: 2 }]) {
      const { pieces, text } = await streamed(question(golden, "what"), { ...options, maxNewTokens: 6 });
      assert.deepEqual(pieces, text === "" ? [] : [text]);
    }
  });

  it("stops at a stop string regardless of token boundaries, and streams none of it", async () => {
    let [spanned, stopped] = [0, 0];
    for (let seed = 0; seed < 10; seed++) {
      const options = { temperature: 1.5, seed, maxNewTokens: 16 };
      const request = question(golden, "what");
      const { texts } = await golden.generator.generate(request, options);
      const [{ text, tokens } = { text: "", tokens: [] }] = texts;
      for (let start = 1; start + 3 < text.length; start += 4) {
        const stop = text.slice(start, start + 3);
        const { pieces, text: cut } = await streamed(request, { ...options, stop: ["never seen", stop] });
        assert.equal(cut, text.slice(0, text.indexOf(stop)).trim(), `seed ${seed}, stop '${stop}'`);
        assert.equal(pieces.join(""), cut);
        stopped++;
        if (!tokens.some((token) => golden.tokenizer.decode([token]).includes(stop))) spanned++;
      }
    }
    assert.ok(stopped > 20 && spanned > 10, `${stopped} stop strings, ${spanned} of them over several tokens`);
  });

  it("draws the same tokens with the same seed, and others with another seed", async () => {
    const draw = async (seed: number) =>
      (await golden.generator.generate(question(golden, "what"), { temperature: 1, seed, maxNewTokens: 10 })).texts[0]
        ?.tokens;
    assert.deepEqual(await draw(7), await draw(7));
    assert.notDeepEqual(await draw(7), await draw(8));
  });

  it("returns several texts and counts the tokens of all", async () => {
    const options = { temperature: 1, numReturnSequences: 3, maxNewTokens: 5 };
    const { texts, newTokens, promptTokens } = await golden.generator.generate(question(golden, "what"), options);
    assert.equal(texts.length, 3);
    assert.equal(
      newTokens,
      texts.reduce((sum, { logProbs }) => sum + logProbs.length, 0),
    );
    assert.equal(promptTokens, golden.generator.promptTokens(question(golden, "what")).length);
  });

  it("rejects a text that exceeds the model's positions, naming the field", async () => {
    const request = question(golden, "what");
    const { positions } = golden.decoder.shape;
    const room = positions - golden.generator.promptTokens(request).length;
    assert.equal((await golden.generator.generate(request, { maxNewTokens: room })).texts.length, 1);
    const tooLarge = (field: string) => ({
      code: "invalid_option",
      message: new RegExp(`^${field}: .* limit of ${positions}$`),
    });
    await assert.rejects(golden.generator.generate(request, { maxNewTokens: room + 1 }), tooLarge("maxNewTokens"));
    await assert.rejects(golden.generator.rank(request, ["yes", "no ".repeat(100)]), tooLarge("candidates\\[1\\]"));
    await assert.rejects(golden.generator.scoreText("no ".repeat(100)), tooLarge("text"));
  });

  it("rejects missing, empty and too many candidates", async () => {
    const refused = { code: "invalid_option", message: /^candidates/ };
    await assert.rejects(golden.generator.rank(question(golden, "what"), []), refused);
    await assert.rejects(golden.generator.rank(question(golden, "what"), ["yes", ""]), refused);
    await assert.rejects(golden.generator.rank(question(golden, "what"), new Array(5000).fill("a")), refused);
  });

  it("ranks more candidates than can be scored concurrently", async () => {
    const candidates = Array.from({ length: 50 }, (_, index) => `answer ${index}`);
    const request = question(golden, "what");
    const { answers: ranked, promptTokens } = await golden.generator.rank(request, candidates);
    const read = candidates.map((text) => golden.tokenizer.encode(text, { addSpecialTokens: false }));
    const own = golden.generator.promptTokens(request).length;
    assert.equal(promptTokens, own + read.reduce((sum, tokens) => sum + tokens.length + 1, 0));
    assert.deepEqual(ranked.map(({ text }) => text).sort(), candidates.toSorted());
    const total = ranked.reduce((sum, { probability }) => sum + probability, 0);
    assert.ok(Math.abs(total - 1) < 1e-9);
    const { answers: few } = await golden.generator.rank(request, candidates.slice(0, 2));
    for (const { text, logProb, meanLogProb, index } of few) {
      assert.equal(text, candidates[index]);
      assert.equal(meanLogProb, logProb / ((read[index]?.length ?? 0) + 1));
      const among = ranked.find((answer) => answer.text === text)?.logProb ?? Number.NaN;
      assert.ok(Math.abs(among - logProb) < TOLERANCE, text);
    }
  });

  it("scores an answer's own tokens if the prompt's last word would merge with its first", async () => {
    const words = golden.tokenizer;
    const conditioning = golden.conditioning(0);
    for (const [prompt, answer] of [
      ["a red ", "apple"],
      ["a r", "ed apple"],
    ] as const) {
      const request = { prompt: [{ literal: prompt }], answerPrefix: "", conditioning };
      const ids = golden.generator.promptTokens(request);
      const whole = words.encode(prompt + answer);
      assert.notDeepEqual(whole.slice(0, ids.length), ids, `'${prompt}|${answer}' merges`);
      const [{ logProb } = { logProb: Number.NaN }] = (await golden.generator.rank(request, [answer])).answers;
      const tokens = [
        ...words.encode(answer, { addSpecialTokens: false }),
        ...golden.specialTokens.eosTokenIds.slice(0, 1),
      ];
      const expected = await answerLogProbs(golden, conditioning, ids, tokens);
      assert.ok(Math.abs(logProb - expected.reduce((a, b) => a + b)) < TOLERANCE);
    }
  });

  it("scores a text without an image or a prompt", async () => {
    const text = "two dogs run in the park";
    const logProbs = await golden.generator.scoreText(text);
    assert.equal(logProbs.length, golden.tokenizer.encode(text).length - 1);
    assert.ok(logProbs.every((logProb) => logProb < 0));
    assert.deepEqual(await golden.generator.scoreText(""), []);
  });
});

describe("ranking", () => {
  for (const name of goldens) {
    it(`gives the same log-probabilities as runs over the whole text: ${name}`, async () => {
      const golden = await openGolden(name);
      try {
        const changes = [
          {},
          { perceptionSees: "everything", startLayer: 1, endLayer: 3 },
          { perceptionSees: "itself" },
        ] as const;
        for (const change of changes) {
          const conditioning = golden.conditioning(1, change);
          for (const prompt of ["", "what is the color?</a>"]) {
            const request = { prompt: [{ literal: prompt }], answerPrefix: "", conditioning };
            const ids = golden.generator.promptTokens(request);
            const { answers } = await golden.generator.rank(request, ["red", "a white plate", "🐕"]);
            for (const { text, logProb } of answers) {
              const answer = golden.tokenizer.encode(text, { addSpecialTokens: false });
              const tokens = [...answer, ...golden.specialTokens.eosTokenIds.slice(0, 1)];
              const expected = (await answerLogProbs(golden, conditioning, ids, tokens)).reduce((a, b) => a + b);
              assert.ok(Math.abs(logProb - expected) < tokens.length * TOLERANCE, `'${prompt}' '${text}'`);
            }
          }
        }
      } finally {
        await golden.close();
      }
    });
  }
});
