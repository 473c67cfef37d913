import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { resentSteps, sendingSteps } from "../../support/mirror-costs.js";
import { softwareVulkan } from "../../support/software-vulkan.js";
import { temporaryFolder } from "../../support/temporary-folder.js";
import { buildTinyModel, picture } from "../../support/tiny-model.js";

/** WebGPU on a machine without a GPU, computed by the software Vulkan of Chromium's package. It is slow and exact. */

const environment = softwareVulkan();
const skip = environment ? false : "Chromium, whose package contains a Vulkan driver for the CPU, is not installed";
const folder = temporaryFolder();
const fixtures = fileURLToPath(new URL("../../../../test/fixtures/", import.meta.url));
const conformance = fileURLToPath(new URL("../../../bench/conformance/main.js", import.meta.url));
const cli = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));
const program = fileURLToPath(new URL("./webgpu-program.js", import.meta.url));
const cacheProgram = fileURLToPath(new URL("./webgpu-cache-program.js", import.meta.url));

/** Largest difference from the CPU, in relation to the largest magnitude; the largest that was found is 2e-6. */
const TOLERANCE = 2e-5;

/** Megabytes by which memory may grow in the second half of the requests. */
const MOST_GROWTH = 40;

/** At least one of each set of operators. */
const cases = {
  goldens: ["opt-shared-1token", "opt-timesformer", "ast"],
  backbones: [
    ...["vit", "dinov2-with-registers", "dinov3-gated", "siglip-vision", "clip-vision", "whisper"],
    ...["gpt2", "llama3-scaling", "qwen3-yarn-window", "gemma3-text", "smollm3", "opt-post-norm"],
  ],
  connectors: ["prefix-mlp-pool", "queries"],
} as const;

// Without the variable of the test runner, `node --test` reports as usual.
const options = { env: { ...environment, NODE_TEST_CONTEXT: undefined }, maxBuffer: 16 * 1024 * 1024 };

async function run(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, args, options).catch((error) => {
    assert.fail(`${error.signal ?? error.code}: ${error.stdout}${error.stderr}`);
  });
  return stdout;
}

function epalm(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [cli, ...args], options).then(
    (result) => ({ code: 0, ...result }),
    (error) => error,
  );
}

describe("the device webgpu, on software Vulkan", { skip, timeout: 30 * 60_000 }, () => {
  for (const [kind, names] of Object.entries(cases)) {
    it(`gives the results of the reference: ${names.join(", ")}`, async () => {
      const chosen = join(folder, `chosen-${kind}`);
      for (const name of names) cpSync(join(fixtures, kind, name), join(chosen, kind, name), { recursive: true });
      // Connectors refer to the decoders of goldens.
      if (kind !== "goldens") symlinkSync(join(fixtures, "goldens"), join(chosen, "goldens"));
      assert.match(await run(conformance, join(chosen, kind)), /\n\d+ ok, 0 failed\n$/);
    });
  }

  for (const [precision, requests] of [
    ["fp32", 200],
    ["int4-fp32", 20],
  ] as const) {
    it(`answers as the CPU does, alone, in a mixed batch, and ${requests} times in a row: ${precision}`, async () => {
      const found = JSON.parse(await run(program, join(folder, "models"), precision, String(requests)));
      assert.deepEqual(found.devices, ["webgpu", "webgpu"]);
      assert.ok(found.states < TOLERANCE, `states differ by ${found.states}`);
      assert.ok(found.logProbs < TOLERANCE, `log-probabilities differ by ${found.logProbs}`);
      assert.deepEqual([found.alone, found.together], [found.expected, found.expected]);
      assert.equal(found.expected.flat().length, 4 * 6);
      assert.equal(found.answered, requests);
      const [first, last] = [found.residentMegabytes.at(requests / 40), found.residentMegabytes.at(-1)];
      assert.ok(last - first < MOST_GROWTH, `resident megabytes after every 20 requests: ${found.residentMegabytes}`);
    });
  }

  it("sends the cache once and when it outgrows a block, but not in other steps, for beams or when texts end", async () => {
    const { bytes, expected, found } = JSON.parse(await run(cacheProgram));
    for (const kind of ["long", "beams", "leaving"] as const) {
      assert.deepEqual(found[kind].tokens, expected[kind].tokens, kind);
      const { resent, largestShare } = resentSteps(found[kind], bytes);
      assert.deepEqual(resent, sendingSteps[kind], kind);
      assert.ok(largestShare < 0.05, `${kind}: a step sends ${largestShare} of the cache`);
    }
  });

  it("decodes from the cache on the device as if it was computed again, while texts join and leave", async () => {
    const test = fileURLToPath(new URL("../../generation/cached-decoding.test.js", import.meta.url));
    const args = ["--test-reporter", "tap", "--test-name-pattern", "llama-shared"];
    assert.match(await run("--test", ...args, test), /# pass 9\n# fail 0/);
  });

  it("rejects fp16 by name when a model is loaded, because this adapter has no 16-bit shaders", async () => {
    for (const precision of ["fp16", "int4-fp16"] as const) {
      const model = await buildTinyModel(join(folder, `tiny-${precision}`), precision);
      const { code, stderr } = await epalm("caption", "-m", model, "no-such-file.png");
      assert.equal(code, 2);
      assert.match(
        stderr,
        new RegExp(
          `device: the encoder is in ${precision}, but the webgpu of this machine does not compute in 16 bits .*f16`,
        ),
      );
    }
  });

  it("reports the operators that fall back to the CPU", async () => {
    const model = await buildTinyModel(join(folder, "tiny-fallbacks"), "int4-fp32");
    const { code, stdout } = await epalm("doctor", "-m", model, "--json");
    assert.equal(code, 0);
    const { devices, nodes } = JSON.parse(stdout);
    assert.deepEqual(devices.webgpu, { works: true, fp16: false });
    assert.deepEqual([nodes.webgpu.encoder.onCpu, nodes.webgpu.decoder.onCpu], [{}, {}]);
    assert.ok(nodes.webgpu.decoder.all > 50 && nodes.webgpu.decoder.copies > 0);
  });

  it("trains an adapter with the losses of the CPU", async () => {
    const model = await buildTinyModel(join(folder, "tiny-training"));
    const lines = await Promise.all(
      [3, 4, 5, 6].map(async (seed) => {
        writeFileSync(join(folder, `${seed}.png`), await picture(seed));
        return JSON.stringify({ image: `${seed}.png`, caption: `a dog and ${seed} cats` });
      }),
    );
    writeFileSync(join(folder, "train.jsonl"), lines.join("\n"));
    const adapter = { name: "dogs", ...{ injectedStates: 2, startLayer: 0, endLayer: 2 }, promptLength: 1 };
    const sharing = { sharedConnector: true, perceptionSees: "itself" };
    const data = { train: { path: "train.jsonl" } };
    const rest = { data, epochs: 3, batchSize: 2, install: false, calibrate: false };
    const config = join(folder, "train.json");
    writeFileSync(config, JSON.stringify({ model, output: "unused", adapter: { ...adapter, ...sharing }, ...rest }));
    const losses: number[][] = [];
    for (const device of ["cpu", "webgpu"]) {
      const output = join(folder, `trained-${device}`);
      const { code, stderr } = await epalm("train", config, "--device", device, "-o", output);
      assert.equal(code, 0, stderr);
      const log = readFileSync(join(output, "log.jsonl"), "utf8").trim().split("\n");
      losses.push(log.map((line) => JSON.parse(line)).flatMap(({ kind, loss }) => (kind === "step" ? [loss] : [])));
    }
    const [expected = [], found = []] = losses;
    assert.equal(found.length, 6);
    found.forEach((loss, step) => {
      assert.ok(Math.abs(loss - (expected[step] ?? 0)) < 1e-5, `step ${step + 1}: ${loss}, not ${expected[step]}`);
    });
  });

  it("replaces a worker thread that ends, as if its device was lost, and then answers again", async () => {
    const test = fileURLToPath(new URL("../server/dead-threads.test.js", import.meta.url));
    const names = ["--test-reporter", "tap", "--test-name-pattern", "replaces it.*decoder"];
    assert.match(await run("--test", ...names, test), /# pass 1\n# fail 0/);
  });
});
