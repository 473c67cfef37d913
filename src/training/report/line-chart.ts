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

/** Space for a label of an axis in pixels, for charts as narrow as a phone's screen. */
const LABEL_WIDTH = 58;

/**
 * The script of a chart. Labels of an axis have as many decimals as its steps need to differ; very small and very large
 * values have an exponent. Steps and epochs are whole numbers. Without a pointer, the legend shows the last values.
 */
const script = `
  const place = document.getElementById(id);
  const ink = getComputedStyle(document.body).color;
  const grid = { stroke: "#8883" };
  const label = (value, step) => {
    const size = Math.abs(value);
    if (value === 0) return "0";
    if (size < 1e-3 || size >= 1e6) {
      const digits = Math.max(0, Math.ceil(Math.log10(size / step) - 1e-9));
      return value.toExponential(Math.min(6, digits)).replace(/\\.?0+e/, "e").replace("e+", "e");
    }
    return value.toFixed(Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))));
  };
  const labels = (chart, splits, axis, space, step) => splits.map((value) => label(Math.abs(value) < step / 1e6 ? 0 : value, step));
  const axes = [
    { stroke: ink, grid, space: 60, incrs: [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b) },
    { stroke: ink, grid, size: ${LABEL_WIDTH}, values: labels },
  ];
  const shown = (chart, value, series, index) => {
    const at = value ?? chart.data[series].findLast((one) => one !== null);
    return at === undefined || at === null ? "no value" : series === 0 ? String(at) : Number(at.toPrecision(5)).toString();
  };
  options.series = options.series.map((one) => ({ ...one, value: shown }));
  const chart = new uPlot({ ...options, axes, width: place.clientWidth }, data, place);
  addEventListener("resize", () => chart.setSize({ width: place.clientWidth, height: options.height }));
`;

/** One chart as HTML for a page of `htmlPage`; its legend shows the values under the pointer. */
export function lineChart({ id, title, xName, x, lines }: LineChart): string {
  const series = lines.map(({ name }, index) => ({
    label: name,
    stroke: colours[index % colours.length],
    width: 1.5,
    points: { show: x.length < 2 },
    spanGaps: true,
  }));
  // A single value has no range of its own.
  const [only = 0] = x;
  const range = x.length < 2 ? { range: [only - 1, only + 1] } : {};
  const options = { height: HEIGHT, scales: { x: { time: false, ...range } }, series: [{ label: xName }, ...series] };
  const data = [x, ...lines.map(({ values }) => values)];
  return `<section><strong>${escapeHtml(title)}</strong><div id="${escapeHtml(id)}"></div>
<script>{
  const [id, options, data] = [${inlineJson(id)}, ${inlineJson(options)}, ${inlineJson(data)}];${script}}</script></section>`;
}
