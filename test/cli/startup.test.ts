import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { GOLDEN, temporaryFolder } from "../support/cli-process.js";

/* Checks which packages light commands load; `npm run bench -- startup` measures how long that takes. */

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const folder = temporaryFolder();

/** An import hook that writes the URL of every loaded module to a file. */
function recorder(file: string): string {
  const hooks = `
    import { appendFileSync } from "node:fs";
    export async function load(url, context, next) {
      appendFileSync(${JSON.stringify(file)}, url + "\\n");
      return next(url, context);
    }`;
  const url = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
  return url(`import { register } from "node:module"; register(${JSON.stringify(url(hooks))});`);
}

/** The packages that a command line loads. */
function packagesOf(args: readonly string[]): string[] {
  const file = join(folder, `${args.join(" ").replaceAll("/", " ")}.txt`);
  const { status, stderr } = spawnSync(process.execPath, ["--import", recorder(file), MAIN, ...args], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  const modules = readFileSync(file, "utf8").split("\n");
  assert.ok(modules.includes(pathToFileURL(MAIN).href));
  const names = modules.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
  return Array.from(new Set(names)).sort();
}

describe("a command line", { concurrency: true }, () => {
  for (const args of [["--version"], ["--help"], ["caption", "--help"], ["serve", "--help"], ["completion", "bash"]]) {
    it(`loads only the parser: epalm ${args.join(" ")}`, () => {
      assert.deepEqual(packagesOf(args), ["commander"]);
    });
  }

  it("inspects a checkpoint without loading ONNX Runtime or media libraries", () => {
    const packages = packagesOf(["inspect", join(GOLDEN, "decoder")]);
    for (const heavy of ["onnxruntime-node", "sharp", "fastify"]) assert.ok(!packages.includes(heavy), heavy);
  });
});
