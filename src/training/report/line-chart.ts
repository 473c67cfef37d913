import { escapeHtml, inlineJson } from "./html-page.js";

/** A line of a chart, with one value per x value; null where it has none. */
export interface ChartLine {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

export interface LineChart {
  /** The id of the HTML element: letters, digits and `-`. */
  readonly id: string;
  readonly title: string;
  readonly xName: string;
  readonly x: readonly number[];
  readonly lines: readonly ChartLine[];
}

const colours = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d"];

const HEIGHT = 260;

/** One chart as HTML for a page of `htmlPage`; its legend shows the values under the pointer. */
export function lineChart({ id, title, xName, x, lines }: LineChart): string {
  const series = lines.map(({ name }, index) => ({
    label: name,
    stroke: colours[index % colours.length],
    width: 1.5,
    points: { show: x.length < 2 },
  }));
  const options = { height: HEIGHT, scales: { x: { time: false } }, series: [{ label: xName }, ...series] };
  const data = [x, ...lines.map(({ values }) => values)];
  return `<section><strong>${escapeHtml(title)}</strong><div id="${escapeHtml(id)}"></div>
<script>{
  const place = document.getElementById(${inlineJson(id)});
  const ink = getComputedStyle(document.body).color;
  const axes = [{ stroke: ink, grid: { stroke: "#8883" } }, { stroke: ink, grid: { stroke: "#8883" } }];
  const chart = new uPlot({ ...${inlineJson(options)}, axes, width: place.clientWidth }, ${inlineJson(data)}, place);
  addEventListener("resize", () => chart.setSize({ width: place.clientWidth, height: ${HEIGHT} }));
}</script></section>`;
}
