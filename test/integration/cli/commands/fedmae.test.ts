import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { epalm, epalmProcess, GOLDEN, temporaryFolder } from "../../../support/cli-process.js";
import { drawColour, drawStripes, tinySettings } from "../../../support/tiny-clients.js";

const facebook = join("test", "fixtures", "mae-facebook", "full.pth");

describe("epalm fedmae", () => {
  const folder = temporaryFolder();
  const at = (...names: string[]) => join(folder, ...names);
  const picture = at("one", "0.png");
  /** The golden adapter requires this width and depth of its encoder. */
  const settings = {
    ...tinySettings,
    output: "run",
    clients: ["one", "two", "three"].map((name) => ({ name, path: name })),
    model: { imageSize: 32, patchSize: 8, width: 32, heads: 4, decoderWidth: 16, decoderHeads: 2 },
    depth: 3,
    rounds: 1,
    samples: "one",
  };

  before(async () => {
    await drawStripes(at("one"), 3, "across");
    await drawStripes(at("two"), 3, "down");
    await drawStripes(at("three"), 3, "across");
    for (const colour of ["red", "blue"] as const) {
      for (let index = 0; index < 4; index++) await drawColour(at("colours", colour, `${index}.png`), colour, index);
    }
    writeFileSync(at("config.json"), JSON.stringify(settings));
  });

  it("pre-trains, reports the cost of each round, and writes a report", async () => {
    const { code, stdout, stderr } = await epalmProcess(["fedmae", "pretrain", at("config.json")]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^3 clients, 9 images, 1 rounds$/m);
    assert.match(
      stderr,
      /^round 1: loss \d\.\d{4} · patch-mean baseline \d\.\d{4} · .* down, .* up per client · peak /m,
    );
    assert.equal(stdout, `encoder ${at("run", "mae")}\nreport  ${at("run", "report.html")}\n`);
    assert.match(readFileSync(at("run", "report.html"), "utf8"), /data:image\/png;base64,/);
    const again = await epalm(["fedmae", "pretrain", at("config.json"), "--json"]);
    assert.match(again.stderr, /^resuming after round 1$/m);
    assert.deepEqual(JSON.parse(again.stdout), {
      encoder: at("run", "mae"),
      blocks: ["0", "1", "2"].map((block) => at("run", "blocks", block)),
      report: at("run", "report.html"),
    });
  });

  it("cascades blocks in the given order", async () => {
    const blocks = ["2", "0"].map((block) => at("run", "blocks", block));
    const stacked = await epalmProcess(["fedmae", "cascade", ...blocks, "--output", at("stacked")]);
    assert.deepEqual(
      [stacked.code, stacked.stdout],
      [0, `encoder ${at("stacked")}: 2 blocks of width 32; states: means of the patches\n`],
      stacked.stderr,
    );
    const repeated = await epalm(["fedmae", "cascade", blocks[0] ?? "", "--depth", "4", "-o", at("repeated")]);
    assert.match(repeated.stdout, /: 4 blocks of width 32; states/m, repeated.stderr);
  });

  it("fine-tunes and probes a trained and an untrained encoder", async () => {
    const data = ["--train", at("colours"), "--test", at("colours"), "--batch-size", "4", "--threads", "1"];
    const flags = [...data, "--epochs", "6", "--learning-rate", "0.005", "--warmup-epochs", "0"];
    const tuned = await epalmProcess(["fedmae", "finetune", at("run", "mae"), ...flags, "-o", at("tuned")]);
    assert.equal(tuned.code, 0, tuned.stderr);
    assert.match(tuned.stderr, /^8 training images, 8 test images$/m);
    assert.match(tuned.stderr, /^epoch 6: label 100/m);
    assert.match(tuned.stdout, /^label +100/);
    for (const more of [[], ["--untrained"]]) {
      const probed = await epalm(["fedmae", "finetune", at("run", "mae"), ...data, "--probe", "--json", ...more]);
      assert.equal(probed.code, 0, probed.stderr);
      assert.ok(JSON.parse(probed.stdout).label > 0.5, probed.stdout);
    }
  });

  it("draws reconstructions", async () => {
    const args = ["fedmae", "reconstruct", at("run", "blocks", "0"), picture, at("two", "0.png")];
    const { code, stdout, stderr } = await epalmProcess([...args, "--output", at("grid.png")]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /grid\.png: loss \d+\.\d{4}, patch-mean baseline \d\.\d{4}$/m);
    const { width, height } = await sharp(at("grid.png")).metadata();
    assert.deepEqual([width, height], [3 * 32 + 8, 2 * 32 + 4]);
  });

  it("imports a checkpoint of facebookresearch/mae, optionally at another size", async () => {
    const heads = ["--heads", "4", "--decoder-heads", "4"];
    const same = await epalmProcess(["fedmae", "import", facebook, ...heads, "-o", at("imported")]);
    assert.deepEqual(
      [same.code, same.stdout],
      [0, `encoder ${at("imported")}: 1 blocks of width 32, 32 pixels; states: means of the patches\n`],
      same.stderr,
    );
    const larger = await epalm(["fedmae", "import", facebook, ...heads, "--image-size", "48", "-o", at("larger")]);
    assert.match(larger.stdout, /width 32, 48 pixels; states: means of the patches$/m, larger.stderr);
    const drawn = await epalm(["fedmae", "reconstruct", at("larger"), picture, "-o", at("larger.png")]);
    assert.equal(drawn.code, 0, drawn.stderr);
  });

  it("imports the pooling that is given, or the one that a probe prefers, and says which", async () => {
    const common = [facebook, "--heads", "4", "--decoder-heads", "4", "--json"];
    const given = await epalm(["fedmae", "import", ...common, "--pooling", "cls", "-o", at("given")]);
    assert.equal(JSON.parse(given.stdout).pooling, "cls", given.stderr);
    const unknown = await epalm(["fedmae", "import", ...common, "--pooling", "attention", "-o", at("unknown")]);
    assert.match(unknown.stderr, /--pooling: expected cls or mean, .* got attention/);
    const data = ["--train", at("colours"), "--test", at("colours"), "--threads", "1"];
    const probed = await epalm(["fedmae", "import", ...common, ...data, "-o", at("probed")]);
    const [, cls, mean] =
      /^linear probe: class token ([\d.]+) %, mean of the patches ([\d.]+) %$/m.exec(probed.stderr) ?? [];
    const expected = Number(cls) > Number(mean) ? "cls" : "mean";
    assert.equal(JSON.parse(probed.stdout).pooling, expected, probed.stderr);
    for (const [folder, pooling] of [
      ["given", "cls"],
      ["probed", expected],
      ["imported", "mean"],
    ] as const) {
      assert.equal(JSON.parse(readFileSync(at(folder, "config.json"), "utf8")).epalm_pooling, pooling);
    }
  });

  for (const [what, encoder] of [
    ["a cascaded encoder", ["run", "mae"]],
    ["a fine-tuned encoder", ["tuned"]],
  ] as const) {
    it(`produces ${what} that works in a model`, async () => {
      const [model, decoder] = [at(`model of ${encoder[0]}`), join(GOLDEN, "decoder")];
      const sources = ["--encoder", at(...encoder), "--decoder", decoder, "--precision", "fp32"];
      const adapter = ["--adapter", `a=${join(GOLDEN, "adapter.pth")}`];
      const built = await epalm(["build", ...sources, ...adapter, "-o", model]);
      assert.equal(built.code, 0, built.stderr);
      const { code, stdout, stderr } = await epalm(["caption", picture, "-m", model]);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /\S/);
    });
  }

  const refused: readonly (readonly [what: string, args: () => readonly string[], code: number, message: RegExp])[] = [
    ["a missing config file", () => ["pretrain", at("none.yaml")], 1, /none\.yaml: no such file/],
    ["an unknown key", () => ["pretrain", at("odd.json")], 2, /odd\.json: .*"?round"?/],
    ["a width that is not divisible by the heads", () => ["pretrain", at("heads.json")], 1, /num_attention_heads/],
    ["a missing checkpoint", () => ["import", at("none.pth"), "-o", at("x")], 1, /none\.pth: no such file/],
    [
      "an adapter in place of an encoder",
      () => ["import", join(GOLDEN, "adapter.pth"), "-o", at("x")],
      1,
      /adapter\.pth|patch_embed/,
    ],
    [
      "a size that is not divisible by the patches",
      () => ["import", facebook, "--heads", "4", "--decoder-heads", "4", "--image-size", "30", "-o", at("x")],
      1,
      /30/,
    ],
    ["unknown heads", () => ["import", facebook, "-o", at("x")], 2, /--heads: expected .*full\.pth.*width 32/],
    ["unknown heads of a cascade", () => ["cascade", facebook, "-o", at("x")], 2, /--heads: expected .*width 32/],
    [
      "unknown heads of the decoder",
      () => ["import", facebook, "--heads", "4", "-o", at("x")],
      2,
      /--decoder-heads: expected .*full\.pth/,
    ],
    [
      "images for a probe without test images",
      () => ["import", facebook, "--heads", "4", "--decoder-heads", "4", "--train", at("colours"), "-o", at("x")],
      2,
      /--test: expected images/,
    ],
    ["an import without an output", () => ["import", facebook], 2, /--output/],
    [
      "checkpoints of different widths",
      () => [
        "cascade",
        at("run", "blocks", "0"),
        join("test", "fixtures", "goldens", "mae-one-block", "mae"),
        "-o",
        at("x"),
      ],
      2,
      /mae-one-block\/mae: intermediate_size: expected 128/,
    ],
    [
      "a depth that differs from the number of blocks",
      () => ["cascade", at("run", "blocks", "0"), at("run", "blocks", "1"), "--depth", "3", "-o", at("x")],
      2,
      /--depth: /,
    ],
    [
      "fine-tuning without an output",
      () => ["finetune", at("run", "mae"), "--train", at("colours"), "--test", at("colours")],
      2,
      /--output/,
    ],
    [
      "more blocks than there are",
      () => [
        "finetune",
        at("run", "mae"),
        "--train",
        at("colours"),
        "--test",
        at("colours"),
        "--blocks",
        "4",
        "-o",
        at("x"),
      ],
      2,
      /^epalm: --blocks: expected at most 3, the depth of the encoder, got 4$/m,
    ],
    [
      "images without labels",
      () => ["finetune", at("run", "mae"), "--train", at("one"), "--test", at("colours"), "--probe"],
      1,
      /one per label/,
    ],
    [
      "reconstructions without a decoder",
      () => ["reconstruct", at("tuned"), picture, "-o", at("x.png")],
      1,
      /tuned: has no decoder/,
    ],
    [
      "a missing image",
      () => ["reconstruct", at("run", "blocks", "0"), at("none.png"), "-o", at("x.png")],
      1,
      /none\.png/,
    ],
  ];
  for (const [what, args, expected, message] of refused) {
    it(`rejects ${what} on one line, with exit code ${expected}`, async () => {
      writeFileSync(at("odd.json"), JSON.stringify({ ...settings, round: 2 }));
      writeFileSync(
        at("heads.json"),
        JSON.stringify({ ...settings, output: "x", model: { ...settings.model, heads: 5 } }),
      );
      const { code, stdout, stderr } = await epalm(["fedmae", ...args()]);
      const lines = stderr.split("\n").filter((line) => line !== "" && !/^\d+ training images/.test(line));
      assert.match(lines[0] ?? "", message);
      assert.deepEqual([code, stdout], [expected, ""], stderr);
      assert.equal(lines.length, 1, stderr);
      assert.ok(!existsSync(at("x")) && !existsSync(at("x.png")));
    });
  }

  it("stops on Ctrl-C and resumes", async () => {
    const long = { ...settings, output: "long", rounds: 3, localEpochs: 20 };
    writeFileSync(at("long.json"), JSON.stringify(long));
    const { code } = await epalmProcess(["fedmae", "pretrain", at("long.json")], {
      signalWhenBusy: "SIGINT",
    });
    assert.equal(code, 130);
    const resumed = await epalm(["fedmae", "pretrain", at("long.json")]);
    assert.equal(resumed.code, 0, resumed.stderr);
  });
});
