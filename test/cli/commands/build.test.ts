import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, it } from "node:test";
import { buildTiny, epalm, epalmProcess, GOLDEN, temporaryFolder } from "../../support/cli-process.js";
import { HubServer } from "../../support/hub-server.js";
import { startTinyHub } from "../../support/tiny-hub.js";

describe("epalm build", () => {
  const folder = temporaryFolder();
  const decoder = ["--decoder", join(GOLDEN, "decoder")];
  const sources = ["--encoder", join(GOLDEN, "encoder"), ...decoder];

  it("reports its progress and the result", async () => {
    const { code, stdout, stderr } = await buildTiny(join(folder, "exact"), "--name", "tiny");
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^building encoder .*\nbuilding decoder .*\nbuilding adapter a\n$/);
    assert.match(stdout, /^tiny: a model folder of /);
    assert.match(stdout, /frozen parameters +190,016/);
    assert.match(stdout, /trained parameters +1,632 +adapter a, 0\.852 % of all/);
  });

  it("applies precisions, tasks and preprocessing", async () => {
    const output = join(folder, "mixed");
    const adapter = ["--adapter", `words=${join(GOLDEN, "adapter.pth")}:vqa`];
    const options = ["--decoder-precision", "fp32", "--preprocessing", "published", "--shard-mb", "1"];
    const { code, stderr } = await epalm(["build", ...sources, ...adapter, ...options, "-o", output]);
    assert.equal(code, 0, stderr);
    const manifest = JSON.parse(readFileSync(join(output, "epalm.json"), "utf8"));
    assert.equal(manifest.encoder.precision, "int8");
    assert.equal(manifest.decoder.precision, "fp32");
    assert.deepEqual(manifest.encoder.preprocessing.resize, { mode: "squash", height: 32, width: 32 });
    assert.deepEqual(manifest.adapters.words.tasks, ["vqa"]);
  });

  it("takes the settings that an adapter file does not contain from its options", async () => {
    const adapter = ["--adapter", `bare=${join(GOLDEN, "adapter.safetensors")}`];
    const layers = ["--adapter-states", "3", "--adapter-start", "1", "--adapter-end", "4"];
    const output = join(folder, "bare");
    const open = await epalm(["build", ...sources, ...adapter, "-o", output]);
    assert.deepEqual([open.code, open.stdout], [1, ""]);
    assert.match(
      open.stderr,
      /^epalm: .*adapter\.safetensors: --adapter-states: the file does not specify it, [^\n]*\n$/m,
    );
    const built = await epalm([
      "build",
      ...sources,
      ...adapter,
      ...layers,
      "--perception-sees",
      "itself",
      "-o",
      output,
    ]);
    assert.equal(built.code, 0, built.stderr);
    assert.match(built.stdout, /into layers 1 to 3; .*the perceptual token attends to itself/);
  });

  it("accepts an encoder for each modality, and shows them", async () => {
    const output = join(folder, "all");
    const fixtures = join("test", "fixtures", "backbones");
    const adapter = join("test", "fixtures", "goldens", "opt-timesformer", "adapter.pth");
    const args = [
      ...["--image-encoder", join(GOLDEN, "encoder"), "--audio-encoder", join(fixtures, "ast")],
      ...["--video-encoder", join(fixtures, "vit"), "--frames", "2", ...decoder],
      ...["--adapter", `sounds=${adapter}:caption:audio`, "--adapter", `clips=${adapter}:video`],
    ];
    const { code, stdout, stderr } = await epalm(["build", ...args, "-o", output]);
    assert.equal(code, 0, stderr);
    const expected = [
      /^image encoder +vit +int8 .*, input 3 x 32 x 32 /m,
      /^audio encoder +ast +int8 .*, input 40 x 32 /m,
      /^video encoder +vit +int8 .*, input 2 x 3 x 32 x 32 /m,
      /^frozen parameters +[\d,]+ +image encoder [\d,]+, audio encoder [\d,]+, video encoder [\d,]+, decoder /m,
      /^adapter sounds, adapters\/sounds\.safetensors, for the audio encoder$/m,
      /^adapter clips, adapters\/clips\.safetensors, for the video encoder$/m,
    ];
    for (const pattern of expected) assert.match(stdout, pattern);
  });

  it("chooses the modality of --encoder by its checkpoint", async () => {
    const output = join(folder, "video");
    const encoder = join("test", "fixtures", "goldens", "opt-timesformer", "encoder.pyth");
    const args = ["--encoder", encoder, "--heads", "4", "--frames", "2", ...decoder, "-o", output];
    const { code, stdout, stderr } = await epalm(["build", ...args]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^video encoder +timesformer .*, input 2 x 3 x 32 x 32 /m);
  });

  it("asks for the heads of an encoder whose files do not determine them", async () => {
    const output = join(folder, "heads");
    const encoder = join("test", "fixtures", "goldens", "opt-timesformer", "encoder.pyth");
    const { code, stderr } = await epalm(["build", "--encoder", encoder, ...decoder, "-o", output]);
    assert.equal(code, 2);
    assert.match(stderr, /\nepalm: --heads: expected the number of attention heads of .*encoder\.pyth, [^\n]+width 32/);
    assert.equal(existsSync(output), false);
  });

  it("rejects a build without an encoder, and an encoder for another modality than its option", async () => {
    const output = join(folder, "misfit");
    const none = await epalm(["build", ...decoder, "-o", output]);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /^epalm: --encoder: expected at least one encoder, [^\n]+\n$/);
    const misfit = await epalm(["build", "--audio-encoder", join(GOLDEN, "encoder"), ...decoder, "-o", output]);
    assert.equal(misfit.code, 2);
    assert.match(misfit.stderr, /\nepalm: .*: expected an encoder for audio, got vit, which takes image\n$/);
    assert.equal(existsSync(output), false);
  });

  it("rejects an output that exists before doing any work", async () => {
    const { code, stderr } = await epalm(["build", "--encoder", "no/hub", ...decoder, "-o", folder]);
    assert.deepEqual([code, stderr], [2, `epalm: --output: ${folder} already exists\n`]);
  });

  it("rejects a missing adapter before doing any work", async () => {
    const output = join(folder, "none");
    const { code, stderr } = await epalm(["build", ...sources, "--adapter", "a=nowhere.pth", "-o", output]);
    assert.deepEqual([code, stderr], [1, "epalm: --adapter a: nowhere.pth: no such file\n"]);
  });

  it("leaves nothing behind if a checkpoint is invalid", async () => {
    const output = join(folder, "failed");
    const { code, stderr } = await epalm(["build", "--encoder", GOLDEN, ...decoder, "-o", output]);
    assert.equal(code, 1);
    assert.match(stderr, /\nepalm: .*opt-shared-1token: no weights, looked for [^\n]*\n$/);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith("failed")),
      [],
    );
  });

  it("exits with 130 on Ctrl-C and leaves nothing behind", async () => {
    const output = join(folder, "interrupted");
    const args = ["build", ...sources, "-o", output];
    const { code, stdout, stderr } = await epalmProcess(args, { signalWhenBusy: "SIGINT" });
    assert.deepEqual([code, stdout], [130, ""]);
    assert.match(stderr, /\nepalm: interrupted\n$/);
    assert.equal(existsSync(output) || existsSync(`${output}.part`), false);
  });
});

describe("epalm build from the hub", () => {
  it("downloads, records the commit, and then builds offline", async () => {
    const folder = temporaryFolder();
    const names = ["config.json", "model.safetensors", "preprocessor_config.json"];
    const files = names.map((name) => [name, { content: readFileSync(join(GOLDEN, "encoder", name)) }]);
    const hub = await new HubServer("tiny/vit", Object.fromEntries(files)).start();
    const env = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: "hf_secret", EPALM_CACHE: join(folder, "cache") };
    const args = ["build", "--encoder", "tiny/vit", "--decoder", join(GOLDEN, "decoder")];

    const online = await epalmProcess([...args, "-o", join(folder, "online")], { env });
    assert.equal(online.code, 0, online.stderr);
    assert.match(online.stderr, /^downloading tiny\/vit: model\.safetensors, \d+\.\d kB$/m);
    assert.match(online.stdout, new RegExp(`tiny/vit@${hub.commit.slice(0, 12)}`));
    assert.ok(hub.seen.every(({ authorization }) => authorization === "Bearer hf_secret"));

    const requests = hub.seen.length;
    const offline = await epalmProcess([...args, "--offline", "-o", join(folder, "offline")], { env });
    assert.equal(offline.code, 0, offline.stderr);
    assert.equal(hub.seen.length, requests);
  });

  it("reports a model that is not in the cache when offline", async () => {
    const folder = temporaryFolder();
    const args = ["build", "--encoder", "tiny/vit", "--decoder", join(GOLDEN, "decoder"), "--offline"];
    const env = { HF_HOME: folder, EPALM_CACHE: "" };
    const { code, stderr } = await epalmProcess([...args, "-o", join(folder, "out")], { env });
    const message = "epalm: tiny/vit@main is not in the cache, and downloads are switched off\n";
    assert.deepEqual([code, stderr], [1, message]);
  });

  it("takes a whole vision-language model apart, with the tokenizer that its repository lacks", async () => {
    const folder = temporaryFolder();
    const hub = await startTinyHub();
    const env = { HF_ENDPOINT: hub, HF_TOKEN: "", EPALM_CACHE: join(folder, "cache") };
    for (const id of ["HuggingFaceTB/SmolVLM-256M-Instruct", "lusxvr/nanoVLM-222M"]) {
      const output = join(folder, basename(id));
      const args = ["build", "--vlm", id, "--precision", "fp32"];
      const { code, stderr, stdout } = await epalmProcess([...args, "-o", output], { env });
      assert.equal(code, 0, stderr);
      assert.match(stdout, new RegExp(`${id}@0123456789ab`));
      const manifest = JSON.parse(readFileSync(join(output, "epalm.json"), "utf8"));
      assert.deepEqual(Object.keys(manifest.adapters), ["vlm"]);
      const offline = await epalmProcess([...args, "--offline", "-o", `${output}-offline`], { env });
      assert.equal(offline.code, 0, offline.stderr);
    }
  });

  it("rejects --vlm together with what it replaces, and no decoder without it", async () => {
    const folder = temporaryFolder();
    const output = ["-o", join(folder, "out")];
    const both = await epalm(["build", "--vlm", "test/fixtures/vlms/smolvlm", "--decoder", "d", ...output]);
    assert.deepEqual(
      [both.code, both.stderr],
      [2, "epalm: --decoder: expected nothing together with --vlm, a whole model, got d\n"],
    );
    const neither = await epalm(["build", "--encoder", join(GOLDEN, "encoder"), ...output]);
    assert.deepEqual(
      [neither.code, neither.stderr],
      [2, "epalm: --decoder: expected a decoder, or --vlm with a whole model\n"],
    );
  });
});
