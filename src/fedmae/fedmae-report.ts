import { escapeHtml, htmlPage } from "../training/report/html-page.js";
import { lineChart } from "../training/report/line-chart.js";
import type { ClientReport, RoundReport } from "./round-log.js";

/** An image with a grid of reconstructions. */
export interface Grid {
  readonly title: string;
  readonly png: Uint8Array;
}

export interface FedMaeReport {
  readonly title: string;
  readonly facts: readonly (readonly [string, string])[];
  readonly rounds: readonly RoundReport[];
  readonly grids: readonly Grid[];
}

const MEGABYTE = 1e6;

/** A self-contained page: facts, loss per client and round, costs, clients left out and reconstructions. */
export function fedMaeReport({ title, facts, rounds, grids }: FedMaeReport): string {
  const parts = [`<section>${table(facts)}</section>`];
  if (rounds.length > 0) {
    parts.push("<h2>Loss</h2>", lossChart(rounds), "<h2>Cost of the last round</h2>", costTable(rounds));
  }
  const left = rounds.flatMap(({ round, clients }) =>
    clients.flatMap((client) =>
      client.kind === "left out" ? [[`round ${round}: ${client.name}`, client.reason] as const] : [],
    ),
  );
  if (left.length > 0) parts.push("<h2>Clients left out</h2>", `<section>${table(left)}</section>`);
  if (grids.length > 0) parts.push("<h2>Original, visible patches, reconstruction</h2>", grids.map(figure).join("\n"));
  return htmlPage(title, parts.join("\n"));
}

type Answered = Extract<ClientReport, { kind: "answered" }>;

function answeredOf({ clients }: RoundReport): Answered[] {
  return clients.flatMap((client) => (client.kind === "answered" ? [client] : []));
}

function lossChart(rounds: readonly RoundReport[]): string {
  const names = Array.from(new Set(rounds.flatMap(({ clients }) => clients.map(({ name }) => name)))).sort();
  const line = (name: string) => ({
    name,
    values: rounds.map((round) => answeredOf(round).find((client) => client.name === name)?.loss ?? null),
  });
  const meanPatch = rounds.map((round) => {
    const losses = answeredOf(round).map(({ meanPatchLoss }) => meanPatchLoss);
    return losses.length === 0 ? null : losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  });
  return lineChart({
    id: "loss",
    title: "reconstruction loss, compared with predicting the mean of each patch",
    xName: "round",
    x: rounds.map(({ round }) => round),
    lines: [...names.map(line), { name: "mean of each patch", values: meanPatch }],
  });
}

function costTable(rounds: readonly RoundReport[]): string {
  const megabytes = (bytes: number) => (bytes / MEGABYTE).toFixed(1);
  const head = ["client", "block", "images", "ms per image", "MB down", "MB up", "peak MB"];
  const rows = rounds
    .slice(-1)
    .flatMap(answeredOf)
    .map((client) => [
      client.name,
      String(client.block),
      String(client.examples),
      (client.milliseconds / client.examples).toFixed(1),
      megabytes(client.bytesDown),
      megabytes(client.bytesUp),
      megabytes(client.peakBytes),
    ]);
  const cells = (tag: string, row: readonly string[]) =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("")}</tr>`;
  return `<section><table>${cells("th", head)}${rows.map((row) => cells("td", row)).join("")}</table></section>`;
}

function figure({ title, png }: Grid): string {
  const source = `data:image/png;base64,${Buffer.from(png).toString("base64")}`;
  return `<figure><img alt="" src="${source}"><figcaption>${escapeHtml(title)}</figcaption></figure>`;
}

function table(rows: readonly (readonly [string, string])[]): string {
  const row = ([name, value]: readonly [string, string]) =>
    `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`;
  return `<table>${rows.map(row).join("")}</table>`;
}
