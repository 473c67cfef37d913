import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";

const SCRIPT = join("scripts", "prune-packages.js");
const folder = mkdtempSync(join(tmpdir(), "epalm-prune-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const runtime = (platform: string) => `onnxruntime-node/bin/napi-v6/${platform}/library.node`;

const kept = [
  runtime("linux/arm64"),
  "onnxruntime-node/dist/index.js",
  "@xenova/transformers/dist/transformers.node.mjs",
  "@scope/one/LICENSE.md",
  "@scope/one/NOTICE.md",
  "@scope/one/index.js",
  "@scope/one/lib/test/needed.js",
  "@scope/one/node_modules/inner/index.js",
  "yaml/dist/doc/document.js",
];
const removed = [
  runtime("linux/x64"),
  runtime("darwin/arm64"),
  "onnxruntime-web/dist/ort.js",
  "@xenova/transformers/dist/transformers.web.js",
  "@scope/one/README.md",
  "@scope/one/index.js.map",
  "@scope/one/index.d.ts",
  "@scope/one/test/test.js",
  "@scope/one/node_modules/inner/docs/page.html",
];

function filesIn(root: string): string[] {
  const names = readdirSync(root, { recursive: true }).map(String);
  return names.filter((name) => statSync(join(root, name)).isFile()).sort();
}

function install(name: string): string {
  const root = join(folder, name);
  for (const file of [...kept, ...removed]) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), "");
  }
  return root;
}

const prune = (...args: readonly string[]) => spawnSync(process.execPath, [SCRIPT, ...args], { encoding: "utf8" });

describe("scripts/prune-packages.js", () => {
  it("keeps the files for one platform and all licences", () => {
    const root = install("linux");
    assert.equal(prune(root, "linux", "arm64").status, 0);
    assert.deepEqual(filesIn(root), kept.toSorted());
  });

  it("rejects a platform without a runtime library and removes no library", () => {
    const root = install("sunos");
    const run = prune(root, "sunos", "sparc");
    assert.equal(run.status, 1);
    assert.match(run.stderr, /sunos.*no library/);
    assert.ok(filesIn(root).includes(runtime("linux/x64")));
  });

  it("prints its usage if the folder is missing", () => {
    assert.match(prune(join(folder, "none")).stderr, /usage/);
  });
});
