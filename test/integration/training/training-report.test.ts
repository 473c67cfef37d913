import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Browser } from "puppeteer-core";
import { renderTrainingReport } from "../../../src/training/report/training-report.js";
import { findChromium, startChromium, textsOf, ticket } from "../../support/chromium.js";
import { temporaryFolder } from "../../support/tiny-model.js";

/** Reports in a real browser, which alone can tell how the charts look. */

const executable = findChromium();
const skip = executable === undefined && "no Chromium: install one, or set CHROMIUM_PATH";
const ARTIFACTS = "test-artifacts";

const report = (epochs: number, rate: number, loss: (step: number) => number) =>
  renderTrainingReport({
    title: "a-long-name-of-a-run-that-does-not-fit-on-a-phone/with-parts",
    facts: [["data", "a/long/path/without/any/space/in/it/that/does/not/fit/on/a/phone/annotations.json"]],
    steps: Array.from({ length: 60 }, (_, index) => ({
      step: index + 1,
      tokenLoss: loss(index),
      learningRate: rate * (1 + index / 60),
      gradientNorm: 1 + Math.sin(index),
    })),
    epochs: Array.from({ length: epochs }, (_, index) => ({
      epoch: index + 1,
      scores: { CIDEr: 0.5 + 0.001 * index, "BLEU@4": 0.2, METEOR: 0.1, "ROUGE-L": 0.3, SPICE: 0.1, accuracy: 0.4 },
    })),
    samples: [{ id: "1", prediction: "a", references: ["b"], file: "x.jpg" }],
  });

let browser: Browser;
before(async () => {
  if (executable !== undefined) browser = await startChromium(executable);
});
after(() => browser?.close());

const cases: readonly (readonly [name: string, html: string])[] = [
  ["three epochs", report(3, 1e-5, (step) => 2 / (1 + step))],
  ["one epoch", report(1, 1e-5, () => 0.123456)],
  ["two epochs and a nearly constant loss", report(2, 3e-7, (step) => 2.34567 + 1e-5 * step)],
];

for (const [name, html] of cases) {
  for (const width of [390, 1280]) {
    test(`a report with ${name} has distinct labels, whole epochs and fits ${width} px`, { skip }, async () => {
      const file = join(temporaryFolder(), "report.html");
      writeFileSync(file, html);
      const { page, complaints } = await ticket(browser, "about:blank", { width, height: 844 });
      // The labels of axes are painted, one call each.
      await page.evaluateOnNewDocument(`
        painted = new Map();
        const { fillText } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
          const chart = this.canvas.closest(".uplot").parentElement.id;
          // The axis below has a text for each x at the same height.
          painted.set(chart, [...(painted.get(chart) ?? []), [text, Math.round(x), Math.round(y)]]);
          return fillText.apply(this, arguments);
        };
      `);
      await page.goto(pathToFileURL(file).href, { waitUntil: "load" });
      await page.waitForFunction("painted.size === 4");
      const painted = (await page.evaluate("Array.from(painted)")) as [string, [string, number, number][]][];
      for (const [chart, texts] of painted) {
        const bottom = Math.max(...texts.map(([, , y]) => y));
        const below = texts.filter(([, , y]) => y === bottom).map(([text]) => text);
        const left = texts.filter(([, , y]) => y !== bottom).map(([text]) => text);
        for (const label of below) assert.match(label, /^-?[\d,]+$/, `${chart}: ${below}`);
        assert.equal(new Set(left).size, left.length, `${chart}: ${left}`);
        assert.ok(left.length > 1, chart);
        for (const label of left) assert.ok(label.length <= 8, `${chart}: ${left}`);
      }
      for (const text of await textsOf(page, ".u-legend .u-value")) assert.doesNotMatch(text, /^-*$/);
      const [content = 0, screen = 0] = (await page.evaluate(
        "[document.documentElement.scrollWidth, innerWidth]",
      )) as number[];
      assert.ok(content <= screen, `content of ${content} px on a screen of ${screen} px`);
      mkdirSync(ARTIFACTS, { recursive: true });
      await page.screenshot({
        path: join(ARTIFACTS, `report-${width}-${name.replaceAll(" ", "-")}.png`),
        fullPage: true,
      });
      assert.deepEqual(complaints, []);
      await page.close();
    });
  }
}
