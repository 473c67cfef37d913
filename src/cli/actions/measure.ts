import { readFileSync, statSync } from "node:fs";
import { throwIfAborted } from "../../core/abort.js";
import { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";
import type { Manifest, MediumInput, Model } from "../../index.js";
import { encoderOf } from "../../model/encoders.js";
import type { CliContext } from "../context.js";
import { measureTexts } from "../measure/measure-texts.js";
import {
  type Measurements,
  type StatesCost,
  statesCosts,
  type TextCost,
  textCosts,
  totalCost,
  waves,
} from "../measure/precision-cost.js";
import { checkModality, type ModalityFlags } from "../options/modality-option.js";
import type { ModelFlags } from "../options/model-option.js";
import { formatTable, print } from "../output/output.js";
import { withModel } from "./with-model.js";

export interface MeasureFlags extends ModelFlags, ModalityFlags {
  readonly against: string;
  readonly texts?: string;
  readonly files?: string[];
  readonly json?: true;
}

/** Each text is one run of the model, so more than this would take hours. */
const MAX_TEXTS_BYTES = 16 * 1024 * 1024;

/** Name of the generated medium that is used if the user gives none. */
const GENERATED = "(generated)";

/** `epalm measure` compares two model folders, usually of different precision. */
export async function measure(flags: MeasureFlags, context: CliContext): Promise<void> {
  const texts = flags.texts === undefined ? measureTexts : readTexts(flags.texts);
  // The models run one after the other, so that only one is in memory.
  const own = await measureModel(flags, texts, context);
  const { modality } = own.model;
  const other = await measureModel({ ...flags, modality, model: flags.against }, texts, context);
  const names = flags.files ?? [GENERATED];
  const costs = textCosts(own.measurements, other.measurements);
  const report: Report = {
    model: own.model,
    against: other.model,
    total: totalCost(costs),
    texts: costs.map((cost, index) => ({ text: texts[index] ?? "", ...cost })),
    media: statesCosts(own.measurements, other.measurements).map((cost, index) => ({
      medium: names[index] ?? "",
      ...cost,
    })),
  };
  print(flags.json ? JSON.stringify(report) : formatReport(report));
}

interface Report {
  readonly model: MeasuredModel;
  readonly against: MeasuredModel;
  readonly total: TextCost;
  readonly texts: readonly ({ readonly text: string } & TextCost)[];
  readonly media: readonly ({ readonly medium: string } & StatesCost)[];
}

interface MeasuredModel {
  readonly name: string;
  /** Modality of the encoders that are compared. */
  readonly modality: Modality;
  readonly encoder: Manifest["encoder"]["precision"];
  readonly decoder: Manifest["decoder"]["precision"];
}

/** Reads the non-empty lines of a file. */
function readTexts(path: string): string[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) throw new EpalmError("not_found", `--texts: ${path}: no such file`);
  if (stats.size > MAX_TEXTS_BYTES) {
    throw new EpalmError("too_large", `--texts: ${path}: expected at most ${MAX_TEXTS_BYTES} bytes, got ${stats.size}`);
  }
  const lines = readFileSync(path, "utf8").split(/\r?\n/);
  const texts = lines.map((line) => line.trim()).filter((line) => line !== "");
  if (texts.length > 0) return texts;
  throw new EpalmError("invalid_option", `--texts: ${path}: expected one text per line, got an empty file`);
}

async function measureModel(
  { files, ...flags }: MeasureFlags,
  texts: readonly string[],
  context: CliContext,
): Promise<{ model: MeasuredModel; measurements: Measurements }> {
  return withModel(flags, context, async (model) => {
    checkModality(flags, model);
    const { name, decoder, encoder: first } = model.manifest;
    const { modality = first.modality } = flags;
    const encoder = encoderOf(model.manifest, modality);
    const inputs: readonly MediumInput[] = files ?? [waves(encoder)];
    return {
      model: { name, modality, encoder: encoder.precision, decoder: decoder.precision },
      measurements: {
        logProbs: await inTurn(texts, (text) => scoreText(model, text), context),
        states: await inTurn(inputs, async (medium) => (await model.encode(medium, { modality })).states, context),
      },
    };
  });
}

async function scoreText(model: Model, text: string): Promise<number[]> {
  try {
    return await model.scoreText(text);
  } catch (error) {
    if (!(error instanceof EpalmError)) throw error;
    throw new EpalmError(error.code, `"${text.slice(0, 40)}": ${error.message}`, { cause: error });
  }
}

async function inTurn<T, R>(items: readonly T[], run: (item: T) => Promise<R>, { signal }: CliContext): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) {
    throwIfAborted(signal);
    results.push(await run(item));
  }
  return results;
}

function formatReport({ model, against, total, texts, media }: Report): string {
  const perToken = (sum: number) => (sum / Math.max(1, total.tokens)).toFixed(5);
  const [own, other] = [total.logProb, total.againstLogProb];
  return [
    formatTable([
      ["", "model", "against", "difference"],
      ["name", model.name, against.name],
      [`${model.modality} encoder`, model.encoder, against.encoder],
      ["decoder", model.decoder, against.decoder],
      [`log-probability of ${texts.length} texts`, own.toFixed(3), other.toFixed(3), (own - other).toFixed(3)],
      [`per token (${total.tokens} tokens)`, perToken(own), perToken(other), perToken(own - other)],
      ["largest difference per token", "", "", total.largestDifference.toFixed(5)],
    ]),
    formatTable([
      ["medium", "lowest cosine of [CLS]", "mean"],
      ...media.map(({ medium, minCosine, meanCosine }) => [medium, minCosine.toFixed(6), meanCosine.toFixed(6)]),
    ]),
  ].join("\n\n");
}
