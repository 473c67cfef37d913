import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clsSettings, PROMPT } from "../../src/adapter/adapter.js";
import { adapterGraph } from "../../src/adapter/adapter-graph.js";
import { type InjectionPlan, injectionPlan } from "../../src/adapter/injection-plan.js";
import { openCheckpoint } from "../../src/formats/open-checkpoint.js";
import { Decoder } from "../../src/generation/decoder.js";
import { Engine } from "../../src/generation/engine.js";
import { type GenerationOptions, parseGenerationOptions } from "../../src/generation/options.js";
import { DecodingRequest } from "../../src/generation/request.js";
import { type SequenceContext, statesByLayer } from "../../src/generation/sequence.js";
import { createStrategy } from "../../src/generation/strategies/create-strategy.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { buildModel } from "../../src/model/build-model.js";
import type { Manifest } from "../../src/model/manifest.js";
import { adapterWidths, loadAdapter } from "../../src/model/model-folder.js";
import type { Session } from "../../src/runtime/session.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { paddedBatchFeeds } from "../../src/training/adapter/padded-batch.js";
import type { Case } from "./case.js";
import { checkTraining } from "./check-training.js";
import { type Check, closeTo, sameTokens } from "./compare.js";
import { openSession } from "./open-session.js";

/** Files of a model in one public format. */
interface Form {
  readonly label: string;
  readonly encoder: string;
  readonly adapter: string;
}

/** Public formats of the same model, which must all give the same results. */
const forms: Readonly<Record<Case["settings"]["encoder"], readonly Form[]>> = {
  vit: [
    { label: "HF + pth", encoder: "encoder", adapter: "adapter.pth" },
    { label: "timm + safetensors", encoder: "encoder.timm.safetensors", adapter: "adapter.safetensors" },
  ],
  timesformer: [
    { label: "pyth + pth", encoder: "encoder.pyth", adapter: "adapter.pth" },
    { label: "bare + safetensors", encoder: "encoder.timm.safetensors", adapter: "adapter.safetensors" },
  ],
};

/** Builds a case from its own files in every format and compares the model with all results of the reference. */
export async function checkCase(golden: Case): Promise<Check[]> {
  const checks: Check[] = [];
  for (const form of forms[golden.settings.encoder]) {
    const folder = mkdtempSync(join(tmpdir(), "epalm-conformance-"));
    try {
      const output = join(folder, "model");
      const manifest = await buildCase(golden, form, output);
      for (const check of await checkModel(golden, output, manifest)) {
        checks.push({ ...check, what: `${check.what} (${form.label})` });
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return checks;
}

function buildCase({ folder, settings }: Case, form: Form, output: string): Promise<Manifest> {
  const source = (name: string) => ({ path: join(folder, name), given: join(folder, name) });
  return buildModel({
    output,
    encoder: {
      ...source(form.encoder),
      precision: "fp32",
      preprocessing: "published",
      heads: settings.encoder_heads,
    },
    decoder: { ...source("decoder"), precision: "fp32" },
    adapters: [
      {
        name: "case",
        path: join(folder, form.adapter),
        tasks: ["caption", "vqa"],
        settings: {
          injectedStates: settings.injected_hidden_states,
          startLayer: settings.start_layer_idx,
          endLayer: settings.end_layer_idx,
          perceptionSees: settings.perception_sees,
        },
      },
    ],
  });
}

async function checkModel(golden: Case, folder: string, manifest: Manifest): Promise<Check[]> {
  const adapter = await loadAdapter({ path: folder, manifest }, "case");
  const { shape } = manifest.decoder;
  const plan = injectionPlan(clsSettings(adapter.settings, folder), shape.layers);
  const encoder = await openSession(join(folder, manifest.encoder.graph));
  const projector = await openSession(
    encodeOnnx(adapterGraph(adapter, adapterWidths(manifest), manifest.encoder.depth)),
  );
  const session = await openSession(join(folder, manifest.decoder.graph));
  try {
    const states = output(await encoder.run({ pixels: pixelsOf(golden) }, ["cls_states"]), "cls_states");
    const projected = await projector.run({ cls_states: states }, ["perception", "soft_prompt"]);
    const [perception, prompt] = [output(projected, "perception"), output(projected, "soft_prompt")];
    return [
      closeTo("states", states, golden.golden("states")),
      closeTo("perception", perception, golden.golden("perception")),
      closeTo("soft prompt", prompt, await expectedPrompt(golden)),
      ...(await checkLogits(golden, session, manifest, { perception, prompt, plan })),
      ...(await checkTokens(golden, session, manifest, { perception, prompt, plan })),
      ...(await checkTraining(golden, adapter, manifest)),
    ];
  } finally {
    for (const open of [encoder, projector, session]) await open.close();
  }
}

/** The encoder's input. In the reference, the channels of a clip precede its frames. */
function pixelsOf({ settings, golden }: Case): Tensor {
  const pixels = golden("pixels");
  if (settings.encoder === "vit") return pixels;
  const [clips = 0, channels = 0, frames = 0, height = 0, width = 0] = pixels.shape;
  const plane = height * width;
  const data = new Float32Array(pixels.data.length);
  for (let sequence = 0; sequence < clips * channels * frames; sequence++) {
    const [clip, channel, frame] = [
      Math.floor(sequence / (channels * frames)),
      Math.floor(sequence / frames) % channels,
      sequence % frames,
    ];
    const own = pixels.data.subarray(sequence * plane, (sequence + 1) * plane) as Float32Array;
    data.set(own, ((clip * frames + frame) * channels + channel) * plane);
  }
  return { type: "float32", shape: [clips, frames, channels, height, width], data };
}

/**
 * The soft prompt of the reference. If it is a plain table, the reference's file contains the table after the three
 * AdamW steps (both share one storage in torch); the original table is then in the published `.pth`.
 */
async function expectedPrompt(golden: Case): Promise<Tensor> {
  const written = golden.golden("soft_prompt");
  const trained = `adamw.after3.${PROMPT}.0.weight`;
  const isTrained = golden.has(trained) && golden.golden(trained).data.every((value, i) => value === written.data[i]);
  if (!isTrained) return written;
  const published = await openCheckpoint(join(golden.folder, "adapter.pth"));
  try {
    const table = published.tensors.get(`${PROMPT}.0.weight`);
    return table ? { type: table.type, shape: table.shape, data: table.read() } : written;
  } finally {
    published.close();
  }
}

/** The decoder's inputs that depend on a batch's media and adapter. */
interface Heard {
  readonly perception: Tensor;
  readonly prompt: Tensor;
  readonly plan: InjectionPlan;
}

async function checkLogits(
  golden: Case,
  session: Session,
  { decoder: { shape } }: Manifest,
  { perception, prompt, plan }: Heard,
): Promise<Check[]> {
  const texts = { ids: golden.golden("input_ids"), mask: golden.golden("attention_mask") };
  const feeds = paddedBatchFeeds(texts, perception, prompt, plan, shape);
  const results = await session.run(feeds, ["logits", "log_normalizer", "target_logits"]);
  const [normalizers, targets] = [output(results, "log_normalizer"), output(results, "target_logits")];
  const [batch = 0, length = 0] = texts.ids.shape;
  const lead = 1 + (prompt.shape[0] ?? 0);
  const losses = Float32Array.from({ length: batch }, (_, sequence) => {
    let loss = 0;
    for (let place = 1; place < length; place++) {
      if (texts.mask.data[sequence * length + place] === 0n) continue;
      const at = sequence * (lead + length) + lead + place - 1;
      loss += Number(normalizers.data[at]) - Number(targets.data[at]);
    }
    return loss;
  });
  return [
    closeTo("logits", output(results, "logits"), golden.golden("logits")),
    closeTo("loss per example", { type: "float32", shape: [batch], data: losses }, golden.golden("loss")),
  ];
}

/** Compares cached generation, as the service performs it, with full recomputation by the reference. */
async function checkTokens(
  golden: Case,
  session: Session,
  { decoder }: Manifest,
  { perception, prompt, plan }: Heard,
): Promise<Check[]> {
  const engine = new Engine(new Decoder(session, decoder.shape));
  const generate = (context: SequenceContext, text: readonly number[], options: GenerationOptions) =>
    generateTokens(engine, context, text, options, decoder.endTokens);
  const checks: Check[] = [];
  const [batch = 0, states = 0, width = 0] = perception.shape;
  for (let sequence = 0; sequence < batch && golden.has(`greedy.${sequence}.prompt`); sequence++) {
    const own = perception.data.subarray(sequence * states * width, (sequence + 1) * states * width);
    const context = {
      perception: {
        plan,
        states: statesByLayer({ type: "float32", shape: [states, width], data: own }, plan),
      },
      softPrompt: prompt,
    };
    const expected = numbers(golden.golden(`greedy.${sequence}.new`));
    // The script of the reference stops after 12 tokens.
    const found = await generate(context, numbers(golden.golden(`greedy.${sequence}.prompt`)), {
      maxNewTokens: 12,
    });
    checks.push(sameTokens(`greedy tokens, sequence ${sequence}`, found, expected));
  }
  if (golden.has("beam3_text_only.prompt")) {
    const expected = numbers(golden.golden("beam3_text_only.new"));
    const text = numbers(golden.golden("beam3_text_only.prompt"));
    const found = await generate({}, text, { beams: 3, maxNewTokens: 10 });
    checks.push(sameTokens("3-beam tokens, text only", found, expected));
  }
  return checks;
}

async function generateTokens(
  engine: Engine,
  context: SequenceContext,
  prompt: readonly number[],
  options: GenerationOptions,
  eosTokenIds: readonly number[],
): Promise<number[]> {
  const strategy = createStrategy(parseGenerationOptions(options), {
    eosTokenIds: new Set(eosTokenIds),
    decode: () => "",
  });
  await engine.run(new DecodingRequest(context, prompt, strategy));
  const [best] = strategy.hypotheses();
  return [...(best?.tokens ?? []), ...(best?.finish === "end" ? eosTokenIds.slice(0, 1) : [])];
}

function output(results: Readonly<Record<string, Tensor>>, name: string): Tensor {
  return results[name] as Tensor;
}

function numbers({ data }: Tensor): number[] {
  return Array.from(data as ArrayLike<number | bigint>, Number);
}
