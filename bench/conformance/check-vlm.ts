import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { adapterGraph } from "../../src/adapter/adapter-graph.js";
import { visualTokenPlan } from "../../src/adapter/injection-plan.js";
import { patchOutput } from "../../src/backbones/encoders/patch-states.js";
import { EpalmError } from "../../src/core/errors.js";
import { EMPTY_TIME, KeyValueCache } from "../../src/generation/key-value-cache.js";
import type { Sequence } from "../../src/generation/sequence.js";
import { stepInputs } from "../../src/generation/step-inputs.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { encoderInput } from "../../src/media/encoder-input.js";
import { buildVlm } from "../../src/model/build-model.js";
import { type ChatMessage, renderConversation } from "../../src/model/conversation.js";
import { preparedFor } from "../../src/model/encoders.js";
import type { Manifest } from "../../src/model/manifest.js";
import { adapterWidths, loadAdapter } from "../../src/model/model-folder.js";
import { promptTokens, tokensBeforeMedium } from "../../src/model/request-tokens.js";
import { readJson } from "../../src/model/source-folder.js";
import { promptParts } from "../../src/model/tasks.js";
import { load } from "../../src/pipeline.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { loadTokenizer, type TemplatePart } from "../../src/tokenizer/tokenizer.js";
import { type Check, closeTo, sameTokens } from "./compare.js";
import { type Golden, openGolden } from "./golden.js";
import { openSession } from "./open-session.js";

/** Largest difference of logits from transformers, in relation to the largest magnitude. */
const TOLERANCE = 1e-5;

/** Pixels are computed from bytes, so that an error of one level would be 4e-3 or more. */
const PIXEL_TOLERANCE = 1e-6;

/** File that the folder of a vision-language model contains. */
export const VLM_FILE = "vlm.json";

const content = z.array(z.object({ type: z.enum(["image", "text"]), text: z.string().optional() }));
const caseSchema = z.object({
  image: z.string(),
  conversations: z.array(z.array(z.object({ role: z.enum(["system", "user", "assistant"]), content }))),
});

/** A built model folder, its public folder, and the numbers of transformers. */
interface VlmCase {
  readonly output: string;
  readonly manifest: Manifest;
  readonly image: string;
  readonly conversations: readonly (readonly ChatMessage[])[];
  readonly golden: Golden;
}

/**
 * Builds a public vision-language model and compares the whole path from a PNG to the text with transformers: pixels,
 * the prompt's tokens, the logits of all positions, and greedy search.
 */
export async function checkVlm(folder: string): Promise<Check[]> {
  const temporary = mkdtempSync(join(tmpdir(), "epalm-conformance-"));
  const golden = openGolden(folder);
  try {
    const output = join(temporary, "model");
    const manifest = await buildVlm({
      output,
      vlm: {
        path: folder,
        given: folder,
        encoderPrecision: "fp32",
        decoderPrecision: "fp32",
        ...(readJson(join(folder, "tokenizer", "tokenizer.json")) ? { tokenizer: join(folder, "tokenizer") } : {}),
      },
      adapters: [],
    });
    const { image, conversations } = caseSchema.parse(readJson(join(folder, VLM_FILE)));
    const known = {
      output,
      manifest,
      golden,
      image: join(folder, image),
      conversations: conversations.map(asMessages),
    };
    return [await checkPixels(known), ...(await checkLogits(known)), ...(await checkGreedy(known))];
  } finally {
    golden.close();
    rmSync(temporary, { recursive: true, force: true });
  }
}

function asMessages(conversation: z.infer<typeof caseSchema>["conversations"][number]): ChatMessage[] {
  return conversation.map(({ role, content }) => ({
    role,
    content: content.map(({ type, text = "" }) => (type === "image" ? ({ medium: true } as const) : { text })),
  }));
}

async function pixelsOf({ image, manifest }: VlmCase): Promise<Tensor> {
  const data = await encoderInput(image, preparedFor(manifest.encoder));
  return { type: "float32", shape: [1, ...manifest.encoder.inputShape], data };
}

async function checkPixels(known: VlmCase): Promise<Check> {
  return closeTo("pixels", await pixelsOf(known), known.golden.tensor("pixels"), 1, PIXEL_TOLERANCE);
}

/** The prompt of a conversation: by the chat template, or for a model without one by the task's prompt. */
function promptOf({ manifest }: VlmCase, messages: readonly ChatMessage[]): readonly TemplatePart[] {
  if (manifest.conversation) return renderConversation(manifest.conversation, messages).parts;
  return promptParts(manifest, "vqa", questionIn(messages));
}

function questionIn(messages: readonly ChatMessage[]): string {
  return messages.flatMap(({ content }) => content).flatMap((part) => ("text" in part ? [part.text] : []))[0] ?? "";
}

/** Visual tokens [n, E] of the image. */
async function visualTokensOf(known: VlmCase): Promise<Tensor> {
  const { output, manifest } = known;
  const { encoder } = manifest;
  const session = await openSession(join(output, encoder.patches?.graph ?? ""), { threads: 1 });
  const adapter = await loadAdapter({ path: output, manifest }, "vlm");
  const connector = await openSession(encodeOnnx(adapterGraph(adapter, adapterWidths(manifest), encoder.depth)));
  try {
    const name = patchOutput(encoder.depth - 1);
    const { [name]: states } = await session.run({ pixels: await pixelsOf(known) }, [name]);
    if (!states) throw new EpalmError("internal", "no patch states were computed");
    const [batch = 1, ...rest] = states.shape;
    const given: Tensor = { ...states, shape: [batch, 1, ...rest] };
    const { visual_tokens: tokens } = await connector.run({ patch_states: given }, ["visual_tokens"]);
    if (!tokens) throw new EpalmError("internal", "no visual tokens were computed");
    return { ...tokens, shape: tokens.shape.slice(1) };
  } finally {
    await session.close();
    await connector.close();
  }
}

async function checkLogits(known: VlmCase): Promise<Check[]> {
  const { output, manifest, golden, conversations } = known;
  const { shape, startToken } = manifest.decoder;
  const tokenizer = loadTokenizer(join(output, manifest.decoder.tokenizer));
  const adapter = await loadAdapter({ path: output, manifest }, "vlm");
  const tokens = await visualTokensOf(known);
  const session = await openSession(join(output, manifest.decoder.graph), { threads: 1 });
  const checks: Check[] = [];
  try {
    for (const [index, messages] of conversations.entries()) {
      const request = { prompt: promptOf(known, messages), answerPrefix: "" };
      const text = promptTokens(tokenizer, request, startToken);
      const textBefore = tokensBeforeMedium(tokenizer, request);
      const plan = visualTokenPlan(adapter.settings, shape.layers);
      const sequence: Sequence = { context: { visual: { plan, tokens, textBefore } }, text, cached: 0 };
      const expected = golden.tensor(`${index}.logits`);
      const [rows = 0] = expected.shape;
      const needs = { kind: "targets", tokens: new Array<number>(rows).fill(0) } as const;
      const { feeds } = stepInputs([{ sequence, active: true, needs }], shape, EMPTY_TIME, 1);
      const cache = new KeyValueCache(shape).feeds(0, 1, true);
      const { logits } = await session.run({ ...feeds, ...cache }, ["logits"]);
      const place = expandedFrom(golden, index, tokens.shape[0] ?? 0);
      checks.push(
        sameTokens(
          `prompt tokens ${index}`,
          [...text.slice(0, textBefore), ...place, ...text.slice(textBefore)],
          [...numbers(golden.tensor(`${index}.ids`)).slice(0, rows)],
        ),
        closeTo(`logits ${index}`, logits as Tensor, expected, 0, TOLERANCE),
      );
    }
    return checks;
  } finally {
    await session.close();
  }
}

/** The ids of the image's place in the expanded prompt; none if the prompt does not contain the image. */
function expandedFrom(golden: Golden, index: number, count: number): number[] {
  const [ids, logits] = [numbers(golden.tensor(`${index}.ids`)), golden.tensor(`${index}.logits`)];
  if (logits.shape[0] !== ids.length) return [];
  const place = ids.find((id, at) => ids.slice(at, at + count).every((other) => other === id)) ?? 0;
  return new Array<number>(count).fill(place);
}

/** Greedy search through the library, which stops at an end token. */
async function checkGreedy({ output, manifest, golden, image, conversations }: VlmCase): Promise<Check[]> {
  const model = await load(output, { checksums: false, threads: 1 });
  const ends = new Set(manifest.decoder.endTokens);
  try {
    const checks: Check[] = [];
    for (const [index, messages] of conversations.entries()) {
      const expected = numbers(golden.tensor(`${index}.greedy`));
      const end = expected.findIndex((token) => ends.has(token));
      const options = { maxNewTokens: expected.length };
      const { texts } = await (manifest.conversation
        ? model.chat(image, messages, options)
        : model.vqa(image, questionIn(messages), options));
      const wanted = end < 0 ? expected : expected.slice(0, end);
      checks.push(sameTokens(`greedy tokens ${index}`, texts[0]?.tokens ?? [], wanted));
    }
    return checks;
  } finally {
    await model.close();
  }
}

function numbers({ data }: Tensor): number[] {
  return Array.from(data as ArrayLike<number | bigint>, Number);
}
