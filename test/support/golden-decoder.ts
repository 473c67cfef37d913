import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCase } from "../../bench/conformance/case.js";
import { type ClsInjectionSettings, clsSettings } from "../../src/adapter/adapter.js";
import { adapterGraph } from "../../src/adapter/adapter-graph.js";
import { injectionPlan } from "../../src/adapter/injection-plan.js";
import type { Device } from "../../src/core/device.js";
import { Decoder } from "../../src/generation/decoder.js";
import { Engine } from "../../src/generation/engine.js";
import { type GenerationOptions, parseGenerationOptions } from "../../src/generation/options.js";
import { DecodingRequest } from "../../src/generation/request.js";
import { type SequenceContext, statesByLayer } from "../../src/generation/sequence.js";
import { createStrategy } from "../../src/generation/strategies/create-strategy.js";
import type { FinishedHypothesis } from "../../src/generation/strategies/strategy.js";
import { type Conditioning, type SpecialTokenIds, TextGenerator } from "../../src/generation/text-generator.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { buildModel } from "../../src/model/build-model.js";
import { adapterWidths, loadAdapter } from "../../src/model/model-folder.js";
import { openSession, type Session } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.js";

export const goldens = [
  "opt-shared-1token",
  "opt-6states-mlp10",
  "opt-post-norm-projected",
  "opt-causal-perception",
  "llama-shared-1token",
];

/** The conditioning of a golden case, whose adapters have a slot and a soft prompt. */
export type SlotConditioning = Required<Pick<Conditioning, "perception" | "softPrompt">>;

/** The decoder of a golden case and the conditioning of its sequences. */
export interface GoldenDecoder {
  readonly decoder: Decoder;
  readonly session: Session;
  readonly specialTokens: SpecialTokenIds;
  readonly tokenizer: Tokenizer;
  /** Generates texts with the decoder. */
  readonly generator: TextGenerator;
  /** The token ids of the case's texts. */
  readonly prompts: readonly (readonly number[])[];
  /** The conditioning of sequence `index` of the case, with optional changes to the adapter's settings. */
  conditioning(index: number, change?: Partial<ClsInjectionSettings>): SlotConditioning;
  /** The same conditioning in the form that the scheduler's sequences use. */
  context(index: number, change?: Partial<ClsInjectionSettings>): SequenceContext;
  close(): Promise<void>;
}

/** @param device default: that of `EPALM_DEVICE`, or else the CPU */
export async function openGolden(
  name: string,
  device = (process.env.EPALM_DEVICE ?? "cpu") as Device,
): Promise<GoldenDecoder> {
  const folder = join("test/fixtures/goldens", name);
  const golden = openCase(folder, name);
  const temporary = mkdtempSync(join(tmpdir(), "epalm-golden-"));
  const output = join(temporary, "model");
  const source = (file: string) => ({ path: join(folder, file), given: file, precision: "fp32" as const });
  const manifest = await buildModel({
    output,
    encoder: { ...source("encoder"), preprocessing: "source" },
    decoder: source("decoder"),
    adapters: [{ name: "case", path: join(folder, "adapter.pth"), tasks: ["caption", "vqa"] }],
  });
  const adapter = await loadAdapter({ path: output, manifest }, "case");
  const projector = await openSession(
    encodeOnnx(adapterGraph(adapter, adapterWidths(manifest), manifest.encoder.depth)),
    { threads: 1 },
  );
  const projected = await projector.run({ cls_states: golden.golden("states") }, ["perception", "soft_prompt"]);
  await projector.close();
  const session = await openSession(join(output, manifest.decoder.graph), { threads: 1, device });
  const tokenizer = loadTokenizer(join(output, manifest.decoder.tokenizer));
  rmSync(temporary, { recursive: true, force: true });
  const { shape } = manifest.decoder;
  const [, states = 0, width = 0] = projected.perception?.shape ?? [];
  const ids = golden.golden("input_ids");
  const length = ids.shape[1] ?? 0;
  const conditioning = (index: number, change: Partial<ClsInjectionSettings> = {}) => {
    const plan = injectionPlan({ ...clsSettings(adapter.settings, name), ...change }, shape.layers);
    const data = projected.perception?.data.slice(index * states * width, (index + 1) * states * width);
    const own: Tensor = { type: "float32", shape: [states, width], data: data ?? new Float32Array() };
    return { perception: { states: own, plan }, softPrompt: projected.soft_prompt };
  };
  const decoder = new Decoder(session, shape);
  const specialTokens = { bosTokenId: manifest.decoder.startToken, eosTokenIds: manifest.decoder.endTokens };
  return {
    decoder,
    session,
    specialTokens,
    tokenizer,
    generator: new TextGenerator(new Engine(decoder), tokenizer, specialTokens),
    prompts: Array.from({ length: ids.shape[0] ?? 0 }, (_, sequence) =>
      Array.from(ids.data.slice(sequence * length, (sequence + 1) * length) as BigInt64Array, Number).filter(
        (id) => id !== 1,
      ),
    ),
    conditioning,
    context(index, change) {
      const { perception, softPrompt } = conditioning(index, change);
      const { states: own, plan } = perception;
      return { perception: { plan, states: statesByLayer(own, plan) }, softPrompt };
    },
    close: () => session.close(),
  };
}

/** A decoding request, and its results once it is done. */
export function writingJob(
  context: SequenceContext,
  prompt: readonly number[],
  options: GenerationOptions,
  eosTokenIds: readonly number[],
) {
  const strategy = createStrategy(parseGenerationOptions(options), {
    eosTokenIds: new Set(eosTokenIds),
    decode: () => "",
  });
  return {
    job: new DecodingRequest(context, prompt, strategy),
    hypotheses: (): readonly FinishedHypothesis[] => strategy.hypotheses(),
  };
}
