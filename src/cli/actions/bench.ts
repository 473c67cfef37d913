import { throwIfAborted } from "../../core/abort.js";
import type { Modality } from "../../core/modality.js";
import type { Device, Model } from "../../index.js";
import { sampleMedium } from "../../media/sample-medium.js";
import { sampleWords } from "../../media/sample-words.js";
import { encoderOf } from "../../model/encoders.js";
import { load } from "../../pipeline.js";
import { peakResidentBytes } from "../../runtime/peak-resident-bytes.js";
import type { CliContext } from "../context.js";
import { askModel } from "../measure/ask-model.js";
import { formatNodes, type GraphNodes, measureFallbacks } from "../measure/cpu-fallbacks.js";
import { describeMachine, type Machine } from "../measure/machine.js";
import { median } from "../measure/median.js";
import { chosenDevices } from "../options/device-options.js";
import { checkModality, type ModalityFlags } from "../options/modality-option.js";
import type { ModelFlags } from "../options/model-option.js";
import { formatBytes, formatCount, formatTable, note, print } from "../output/output.js";

export interface BenchFlags extends ModelFlags, ModalityFlags {
  readonly rounds: number;
  readonly newTokens: number;
  readonly together: number;
  readonly json?: true;
}

interface MeasuredPart {
  readonly architecture: string;
  readonly precision: string;
  readonly device: Device;
}

interface BenchReport {
  readonly machine: Machine;
  readonly model: {
    readonly name: string;
    readonly encoder: MeasuredPart & { readonly modality: Modality };
    readonly decoder: MeasuredPart;
  };
  /** Which operators were computed on the CPU, if a part is computed on another device. */
  readonly nodes?: GraphNodes;
  readonly rounds: number;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly together: number;
  readonly milliseconds: {
    readonly load: number;
    /** Decoding and preprocessing of a medium. */
    readonly media: number;
    readonly encoder: number;
    readonly adapter: number;
    /** From the start of the prompt to the first token. */
    readonly prefill: number;
    /** From one token to the next. */
    readonly token: number;
  };
  readonly tokensPerSecond: {
    readonly prefill: number;
    readonly decoding: number;
    /** New tokens of all concurrent requests together, including the time of their prefill. */
    readonly together: number;
  };
  readonly peakBytes: number;
}

/** `epalm bench` measures the speed of a model on this machine. */
export async function bench(flags: BenchFlags, { signal }: CliContext): Promise<void> {
  note(`loading ${flags.model}`);
  const started = performance.now();
  const options = { threads: flags.threads, device: chosenDevices(flags) };
  const model = await load(flags.model, options);
  for (const { note: text } of Object.values(model.devices)) if (text !== undefined) note(text);
  const loadMilliseconds = performance.now() - started;
  try {
    throwIfAborted(signal);
    checkModality(flags, model);
    const measured = await measure(model, loadMilliseconds, flags, signal);
    const isOnCpu = Object.values(model.devices).every(({ device }) => device === "cpu");
    const report = isOnCpu ? measured : { ...measured, nodes: await measureFallbacks(flags.model, options, signal) };
    print(flags.json ? JSON.stringify(report) : formatReport(report));
  } finally {
    await model.close();
  }
}

async function measure(
  model: Model,
  loadMilliseconds: number,
  { rounds: count, newTokens: wanted, together, modality: asked }: BenchFlags,
  signal: AbortSignal,
): Promise<BenchReport> {
  // The first run is not measured, because it warms everything up.
  const modality = asked ?? usualModality(model);
  const first = await model.encode(await sampleMedium(modality), { modality, signal });
  const { promptTokens } = (await askModel(model, first, 1, signal)).usage;
  const newTokens = Math.min(wanted, roomFor(model, promptTokens));
  note(`measuring in ${formatCount(count)} rounds`);
  const rounds: Round[] = [];
  for (let seed = 1; seed <= count; seed++) {
    rounds.push(await measureRound(model, { modality, seed, newTokens, together, signal }));
  }
  const of = (key: keyof Round) => median(rounds.map((round) => round[key]));
  const { name, decoder } = model.manifest;
  const encoder = encoderOf(model.manifest, modality);
  const [prefill, token] = [of("prefill"), of("token")];
  return {
    machine: describeMachine(),
    model: {
      name,
      encoder: {
        modality,
        architecture: encoder.architecture,
        precision: encoder.precision,
        device: model.devices.encoder.device,
      },
      decoder: {
        architecture: decoder.architecture,
        precision: decoder.precision,
        device: model.devices.decoder.device,
      },
    },
    rounds: count,
    promptTokens,
    newTokens,
    together,
    milliseconds: {
      load: loadMilliseconds,
      media: of("media"),
      encoder: of("encoder"),
      adapter: of("adapter"),
      prefill,
      token,
    },
    tokensPerSecond: {
      prefill: (1000 * promptTokens) / prefill,
      decoding: 1000 / token,
      together: (1000 * together * newTokens) / of("together"),
    },
    peakBytes: peakResidentBytes(),
  };
}

/** `image`, if the model accepts it; otherwise the modality of the first encoder. */
function usualModality({ modalities, manifest }: Model): Modality {
  return modalities.includes("image") ? "image" : manifest.encoder.modality;
}

/** Milliseconds of one round. */
interface Round {
  readonly media: number;
  readonly encoder: number;
  readonly adapter: number;
  readonly prefill: number;
  readonly token: number;
  /** For all concurrent requests together. */
  readonly together: number;
}

interface RoundPlan {
  readonly modality: Modality;
  /** Seed of the generated medium. */
  readonly seed: number;
  readonly newTokens: number;
  readonly together: number;
  readonly signal: AbortSignal;
}

async function measureRound(model: Model, { modality, seed, newTokens, together, signal }: RoundPlan): Promise<Round> {
  const medium = await model.encode(await sampleMedium(modality, seed), { modality, signal });
  const prefill = (await askModel(model, medium, 1, signal)).timings.decoder;
  const { adapter, decoder } = (await askModel(model, medium, newTokens, signal)).timings;
  const started = performance.now();
  await Promise.all(Array.from({ length: together }, () => askModel(model, medium, newTokens, signal)));
  return {
    ...medium.timings,
    adapter,
    prefill,
    token: (decoder - prefill) / (newTokens - 1),
    together: performance.now() - started,
  };
}

/** The number of tokens that fit after the prompt and the soft prompt; at least 2, so that a step can be measured. */
function roomFor({ manifest }: Model, promptTokens: number): number {
  return Math.max(2, manifest.decoder.shape.positions - promptTokens);
}

function formatReport(report: BenchReport): string {
  const { machine, model, milliseconds, tokensPerSecond } = report;
  const part = ({ architecture, precision, device }: MeasuredPart) => `${architecture} in ${precision} on ${device}`;
  const time = (value: number) => `${value.toFixed(value < 100 ? 1 : 0)} ms`;
  const rate = (value: number) => `${value.toFixed(1)} tokens/s`;
  return [
    formatTable([
      ["machine", `${machine.cpu}, ${machine.cores} cores, ${formatBytes(machine.memoryBytes)}`],
      ["", `Node ${machine.node}, ONNX Runtime ${machine.onnxruntime}`],
      ["model", `${model.name}: ${part(model.encoder)}, ${part(model.decoder)}`],
    ]),
    formatTable([
      ["load", time(milliseconds.load)],
      [model.encoder.modality, time(milliseconds.media), sampleWords[model.encoder.modality]],
      ["encoder", time(milliseconds.encoder)],
      ["adapter", time(milliseconds.adapter)],
      ["prefill", time(milliseconds.prefill), `${report.promptTokens} tokens, ${rate(tokensPerSecond.prefill)}`],
      ["per token", time(milliseconds.token), rate(tokensPerSecond.decoding)],
      [`${report.together} concurrent requests`, "", rate(tokensPerSecond.together)],
      ["peak memory", formatBytes(report.peakBytes)],
    ]),
    ...(report.nodes ? [formatTable(formatNodes(report.nodes))] : []),
  ].join("\n\n");
}
