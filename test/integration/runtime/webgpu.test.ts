import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { softwareVulkan } from "../../support/software-vulkan.js";
import { temporaryFolder } from "../../support/temporary-folder.js";

/** WebGPU on a machine without a GPU, computed by the software Vulkan of Chromium's package. It is slow and exact. */

const environment = softwareVulkan();
const skip = environment ? false : "Chromium, whose package contains a Vulkan driver for the CPU, is not installed";
const folder = temporaryFolder();
const fixtures = fileURLToPath(new URL("../../../../test/fixtures/", import.meta.url));
const conformance = fileURLToPath(new URL("../../../bench/conformance/main.js", import.meta.url));
const program = fileURLToPath(new URL("./webgpu-program.js", import.meta.url));

/** At least one of each set of operators. */
const cases = {
  goldens: ["opt-shared-1token", "opt-timesformer", "ast"],
  backbones: [
    ...["vit", "dinov2-with-registers", "dinov3-gated", "siglip-vision", "clip-vision", "whisper"],
    ...["gpt2", "llama3-scaling", "qwen3-yarn-window", "gemma3-text", "smollm3", "opt-post-norm"],
  ],
  connectors: ["prefix-mlp-pool", "queries"],
} as const;

async function run(path: string, ...args: string[]): Promise<string> {
  const options = { env: environment, maxBuffer: 16 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(process.execPath, [path, ...args], options).catch((error) => {
    assert.fail(`${error.signal ?? error.code}: ${error.stdout}${error.stderr}`);
  });
  return stdout;
}

describe("the device webgpu, on software Vulkan", { skip, timeout: 15 * 60_000 }, () => {
  for (const [kind, names] of Object.entries(cases)) {
    it(`gives the results of the reference: ${names.join(", ")}`, async () => {
      for (const name of names) cpSync(join(fixtures, kind, name), join(folder, kind, name), { recursive: true });
      mkdirSync(join(folder, kind), { recursive: true });
      assert.match(await run(conformance, join(folder, kind)), /\n\d+ ok, 0 failed\n$/);
    });
  }

  it("answers as the CPU does in fp32 and int4, in a mixed batch, and 200 requests in a row", async () => {
    assert.deepEqual(JSON.parse(await run(program, join(folder, "models"))), {
      devices: ["webgpu", "webgpu"],
      statesAgree: true,
      sameTokens: true,
      mixedBatchAgrees: true,
      logProbsAgree: true,
      int4: { encoder: true, decoder: true },
      answered: 200,
    });
  });
});
