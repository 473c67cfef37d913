import type { Breakdown, NamedIntervals } from "../adapter/breakdown.js";
import type { CoveredAccuracy } from "../calibration/fit-confidence.js";
import type { CalibrationReport } from "../calibration/measure-calibration.js";
import type { MeanInterval } from "../metrics/mean-interval.js";
import { escapeHtml, htmlPage } from "./html-page.js";
import { lineChart } from "./line-chart.js";

export interface ReportStep {
  /** From 1. */
  readonly step: number;
  readonly tokenLoss: number;
  readonly learningRate: number;
  readonly gradientNorm: number;
}

export interface ReportEpoch {
  /** From 1. */
  readonly epoch: number;
  readonly scores: Readonly<Record<string, number>>;
}

export interface ReportSample {
  readonly id: string;
  readonly question?: string;
  readonly prediction: string;
  readonly references: readonly string[];
  /** File name, shown if there is no image. */
  readonly file?: string;
  /** Thumbnail, and its media type. */
  readonly image?: Uint8Array;
  readonly mime?: string;
}

export interface TrainingReport {
  readonly title: string;
  readonly facts: readonly (readonly [string, string])[];
  readonly steps: readonly ReportStep[];
  readonly epochs: readonly ReportEpoch[];
  /** Scores of the text-only baseline. */
  readonly baselineScores?: Readonly<Record<string, number>> | undefined;
  /** How familiarity and confidence were calibrated, at the end of the run. */
  readonly calibration?: CalibrationReport | undefined;
  /** The parts of the scores of the kept epoch. */
  readonly breakdown?: Breakdown | undefined;
  readonly samples: readonly ReportSample[];
}

/** Maximum number of points in a curve; more than a screen has columns. */
const MAX_POINTS = 2000;

/** Weight of the new value in the smoothed loss. */
const SMOOTHING = 0.05;

/** A self-contained page with facts, curves, scores per epoch, and samples with predictions and references. */
export function renderTrainingReport(report: TrainingReport): string {
  const { title, facts, steps, epochs, baselineScores, calibration, breakdown, samples } = report;
  const parts = [section(table(facts.map(([name, value]) => [cell("th", name), cell("td", value)])))];
  if (steps.length > 0) parts.push("<h2>Training</h2>", ...stepCharts(steps));
  if (epochs.some(({ scores }) => Object.keys(scores).length > 0)) {
    parts.push("<h2>Scores on the validation set</h2>", scoreTable(epochs, baselineScores), scoreChart(epochs));
  }
  if (breakdown) parts.push(...breakdownParts(breakdown));
  if (calibration) parts.push(...calibrationParts(calibration));
  if (samples.length > 0) {
    parts.push("<h2>Samples</h2>", `<div class="samples">${samples.map(sampleFigure).join("")}</div>`);
  }
  return htmlPage(title, parts.join("\n"));
}

function stepCharts(steps: readonly ReportStep[]): string[] {
  const smooth: number[] = [];
  for (const { tokenLoss } of steps) {
    const before = smooth.at(-1) ?? tokenLoss;
    smooth.push(before + SMOOTHING * (tokenLoss - before));
  }
  const stride = Math.ceil(steps.length / MAX_POINTS);
  const thin = <T>(values: readonly T[]): T[] => values.filter((_, index) => index % stride === 0);
  const chart = (id: string, name: string, lines: { name: string; values: readonly number[] }[]) =>
    lineChart({
      id,
      title: name,
      xName: "step",
      x: thin(steps.map(({ step }) => step)),
      lines: lines.map((line) => ({ ...line, values: thin(line.values) })),
    });
  const one = (name: string, values: readonly number[]) => [{ name, values }];
  return [
    chart("loss", "loss per token", [
      { name: "each step", values: steps.map(({ tokenLoss }) => tokenLoss) },
      { name: "smoothed", values: smooth },
    ]),
    chart(
      "learning-rate",
      "learning rate",
      one(
        "rate",
        steps.map(({ learningRate }) => learningRate),
      ),
    ),
    chart(
      "gradient-norm",
      "norm of the gradient",
      one(
        "norm",
        steps.map(({ gradientNorm }) => gradientNorm),
      ),
    ),
  ];
}

function scoreNames(epochs: readonly ReportEpoch[]): string[] {
  return Array.from(new Set(epochs.flatMap(({ scores }) => Object.keys(scores))));
}

function scoreTable(epochs: readonly ReportEpoch[], baseline: TrainingReport["baselineScores"]): string {
  const names = scoreNames(epochs);
  const best = new Map(names.map((name) => [name, Math.max(...epochs.map(({ scores }) => scores[name] ?? -1))]));
  const head = ["epoch", ...names].map((name) => cell("th", name));
  const rows = epochs.map(({ epoch, scores }) => [
    cell("td", String(epoch)),
    ...names.map((name) => {
      const score = scores[name];
      return cell("td", score?.toFixed(4) ?? "", score !== undefined && score === best.get(name));
    }),
  ]);
  const baselineRow = baseline && ["text-only baseline", ...names.map((name) => baseline[name]?.toFixed(4) ?? "")];
  return section(table([head, ...rows, ...(baselineRow ? [baselineRow.map((text) => cell("td", text))] : [])]));
}

/** Scores with intervals by group, and for questions the most common answers and errors. */
function breakdownParts({ overall, groups, confusions, answers }: Breakdown): string[] {
  const names = Object.keys(overall);
  const rowOf = (group: string, scores: NamedIntervals) => [
    group,
    ...names.map((name) => (scores[name] ? formatInterval(scores[name]) : "")),
  ];
  const parts = [
    "<h2>Scores of the kept epoch, with 95 % confidence intervals</h2>",
    textTable(["group", ...names], [rowOf("all", overall), ...groups.map(({ group, scores }) => rowOf(group, scores))]),
  ];
  if (confusions.length > 0) {
    const rows = confusions.map(({ expected, answered, count }) => [expected, answered, String(count)]);
    parts.push("<h2>Most common wrong answers</h2>", textTable(["expected", "answered", "examples"], rows));
  }
  if (answers.length > 0) {
    const rows = answers.map(({ answer, expected, answered }) => [answer, String(expected), String(answered)]);
    parts.push("<h2>Most common answers</h2>", textTable(["answer", "expected", "given by the model"], rows));
  }
  return parts;
}

/** Near-duplicates that are listed. */
const LISTED_DUPLICATES = 20;

/** The calibration errors, and the accuracy if only the answers of highest confidence are given. */
function calibrationParts({ familiarity, confidence, nearDuplicates, notes }: CalibrationReport): string[] {
  const parts = ["<h2>Familiarity and confidence</h2>", ...notes.map((note) => section(`<p>${escapeHtml(note)}</p>`))];
  if (familiarity) {
    const from = familiarity.from === "validation" ? "validation media" : "training media, by cross-fitting";
    parts.push(section(`<p>Familiarity is measured on ${familiarity.media.toLocaleString("en")} ${from}.</p>`));
  }
  const kinds = Object.entries(confidence);
  if (kinds.length > 0) {
    parts.push(
      textTable(
        ["confidence of", "map", "examples", "calibration error before", "after"],
        kinds.map(([name, { kind, examples, before, after }]) => [
          ...[name, kind, examples.toLocaleString("en")],
          ...[before, after].map((error) => error.toFixed(4)),
        ]),
      ),
    );
  }
  // Most candidates are wrong by design, so that the accuracy of all of them says nothing.
  for (const [name, { coverage }] of kinds.filter(([kind]) => kind !== "candidates"))
    parts.push(coverageChart(name, coverage));
  if (nearDuplicates.length > 0) {
    const count = nearDuplicates.length.toLocaleString("en");
    parts.push(
      "<h2>Near-duplicates</h2>",
      section(
        `<p>${count} validation media are almost the same as a training medium. Scores on them are too high.</p>`,
      ),
      textTable(
        ["validation", "training"],
        nearDuplicates.slice(0, LISTED_DUPLICATES).map((pair) => [pair.validation, pair.training]),
      ),
    );
  }
  return parts;
}

function coverageChart(name: string, coverage: readonly CoveredAccuracy[]): string {
  const ascending = coverage.toReversed();
  return lineChart({
    id: `coverage-${name}`,
    title: `accuracy of ${name}, by share of them that are given`,
    xName: "share",
    x: ascending.map((one) => one.coverage),
    lines: [{ name: "accuracy", values: ascending.map(({ accuracy }) => accuracy) }],
  });
}

/** A score as `0.5240 (0.5101 to 0.5380), 1,200 examples`. */
function formatInterval({ mean, low, high, examples }: MeanInterval): string {
  const [score, from, to] = [mean, low, high].map((value) => value.toFixed(4));
  return `${score} (${from} to ${to}), ${examples.toLocaleString("en")} ${examples === 1 ? "example" : "examples"}`;
}

function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return section(
    table([head.map((text) => cell("th", text)), ...rows.map((row) => row.map((text) => cell("td", text)))]),
  );
}

function scoreChart(epochs: readonly ReportEpoch[]): string {
  const lines = scoreNames(epochs).map((name) => ({
    name,
    values: epochs.map(({ scores }) => scores[name] ?? null),
  }));
  return lineChart({
    id: "scores",
    title: "scores",
    xName: "epoch",
    x: epochs.map(({ epoch }) => epoch),
    lines,
  });
}

function sampleFigure({ id, question, prediction, references, file, image, mime }: ReportSample): string {
  const shown = image
    ? `<img alt="" src="data:${escapeHtml(mime ?? "image/jpeg")};base64,${Buffer.from(image).toString("base64")}">`
    : `<div class="faint">${escapeHtml(file ?? "")}</div>`;
  const asked = question === undefined ? "" : `<div class="faint">${escapeHtml(question)}</div>`;
  const truth = Array.from(new Set(references)).join(" · ");
  return `<figure title="${escapeHtml(id)}">${shown}<figcaption>${asked}<div><strong>${escapeHtml(prediction)}</strong></div><div class="faint">references: ${escapeHtml(truth)}</div></figcaption></figure>`;
}

function section(content: string): string {
  return `<section>${content}</section>`;
}

function table(rows: readonly (readonly string[])[]): string {
  return `<table>${rows.map((cells) => `<tr>${cells.join("")}</tr>`).join("")}</table>`;
}

function cell(tag: "td" | "th", text: string, isBest = false): string {
  return `<${tag}${isBest ? ' class="best"' : ""}>${escapeHtml(text)}</${tag}>`;
}
