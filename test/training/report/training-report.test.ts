import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { renderTrainingReport, type TrainingReport } from "../../../src/training/report/training-report.js";

const hostile = `</script><img src=x onerror="alert(1)">&'`;

const whole: TrainingReport = {
  title: hostile,
  facts: [["model", hostile]],
  steps: Array.from({ length: 5000 }, (_, index) => ({
    step: index + 1,
    tokenLoss: 5 / (index + 1),
    learningRate: 1e-3,
    gradientNorm: 1,
  })),
  epochs: [
    { epoch: 1, scores: { CIDEr: 0.25, [hostile]: 0.5 } },
    { epoch: 2, scores: { CIDEr: 0.75, [hostile]: 0.25 } },
  ],
  samples: [
    {
      id: hostile,
      question: hostile,
      prediction: hostile,
      references: [hostile],
      image: Uint8Array.of(1, 2, 3),
      mime: "image/png",
    },
  ],
};

describe("a training report", () => {
  it("escapes hostile strings", () => {
    const html = renderTrainingReport(whole);
    assert.ok(!html.includes("<img src=x"));
    assert.ok(!html.includes("</script><img"));
    assert.ok(html.includes("&lt;/script&gt;&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#39;"));
    assert.ok(html.includes("\\u003c/script>\\u003cimg"));
  });

  it("loads nothing from other addresses", () => {
    const html = renderTrainingReport(whole);
    assert.doesNotMatch(html, /(src|href)\s*=\s*["']?(https?:)?\/\//i);
    assert.doesNotMatch(html, /@import|url\(\s*["']?https?:/i);
    assert.match(html, /default-src 'none'/);
  });

  it("contains thinned curves, marks the best scores and embeds images", () => {
    const html = renderTrainingReport(whole);
    const x = /\[id, options, data\] = .*?, \[\[([\d,]+)\]/s.exec(html)?.[1]?.split(",") ?? [];
    assert.ok(x.length > 1000 && x.length <= 2000);
    assert.match(html, /<td class="best">0\.7500<\/td>/);
    assert.match(html, /<td>0\.2500<\/td>/);
    assert.match(html, /src="data:image\/png;base64,AQID"/);
  });

  it("contains the baseline, scores by group and the most common errors, with hostile strings escaped", () => {
    const score = { mean: 0.5, low: 0.25, high: 0.75, examples: 1200 };
    const html = renderTrainingReport({
      ...whole,
      baselineScores: { CIDEr: 0.125 },
      breakdown: {
        overall: { CIDEr: score, "VQA accuracy": score },
        groups: [{ group: hostile, scores: { "VQA accuracy": { ...score, examples: 1 } } }],
        confusions: [{ expected: hostile, answered: "red", count: 7 }],
        answers: [{ answer: hostile, expected: 3, answered: 9 }],
      },
    });
    assert.ok(!html.includes("<img src=x"));
    assert.match(html, /<td>text-only baseline<\/td><td>0\.1250<\/td><td><\/td>/);
    assert.match(html, /<td>all<\/td><td>0\.5000 \(0\.2500 to 0\.7500\), 1,200 examples<\/td>/);
    assert.match(html, /&#39;<\/td><td><\/td><td>0\.5000 \(0\.2500 to 0\.7500\), 1 example<\/td>/);
    assert.match(html, /<td>red<\/td><td>7<\/td>/);
    assert.match(html, /<td>3<\/td><td>9<\/td>/);
  });

  it("can be written before the first step", () => {
    const html = renderTrainingReport({ title: "new", facts: [], steps: [], epochs: [], samples: [] });
    assert.match(html, /<h1>new<\/h1>/);
    assert.doesNotMatch(html, /Scores|Samples/);
  });
});
