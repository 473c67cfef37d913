import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, it } from "node:test";
import { temporaryFolder } from "./support/temporary-folder.js";

const SCRIPT = resolve("scripts", "run-tests.js");

describe("npm test", () => {
  const folder = temporaryFolder();

  /** Writes a compiled test and an empty source for it. */
  function write(name: string, code: string, to = folder): void {
    for (const [file, text] of [
      [join("test", `${name}.test.ts`), ""],
      [join("dist", "test", `${name}.test.js`), `const { test } = require("node:test"); ${code}`],
    ] as const) {
      mkdirSync(dirname(join(to, file)), { recursive: true });
      writeFileSync(join(to, file), text);
    }
  }
  write("tensor/shapes", 'test("fits", () => {}); test("needs a GPU", { skip: "no GPU" }, () => {});');
  write("runtime/answers", 'test("answers", () => { throw new Error("no answer"); });');
  write("integration/server/browser", 'test("draws", () => {});');
  // Left by a test that was renamed.
  mkdirSync(join(folder, "dist", "test", "old"), { recursive: true });
  writeFileSync(join(folder, "dist", "test", "old", "name.test.js"), 'throw new Error("old")');

  const run = (...args: readonly string[]) => runIn(folder, ...args);

  function runIn(cwd: string, ...args: readonly string[]) {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    return spawnSync(process.execPath, [SCRIPT, ...args], { cwd, env, encoding: "utf8" });
  }

  it("prints a row for each folder and the reasons of skips, and fails if a test fails", () => {
    const { status, stdout } = run();
    assert.equal(status, 1);
    assert.match(stdout, /^# tests 3\n(.*\n)*# pass 1\n# fail 1\n/m);
    assert.match(stdout, /^suite +files +minutes +processor +pass +fail +skipped$/m);
    assert.match(stdout, /^runtime +1 +0\.\d\d +0\.\d\d +0 +1 +0$/m);
    assert.match(stdout, /^tensor +1 +0\.\d\d +0\.\d\d +1 +0 +1$/m);
    assert.match(stdout, /^all +2 +0\.\d\d +0\.\d\d +1 +1 +1$/m);
    // Node alone takes 0.04 s.
    assert.match(
      stdout,
      /^largest files: .*\n( +\d+\.\d +(0\.[1-9]|[1-9]\.\d) +(runtime|tensor)\/\w+\.test\.ts\n){2}/m,
    );
    assert.match(stdout, /^ +tensor\/shapes\.test\.ts: needs a GPU: no GPU$/m);
    assert.doesNotMatch(stdout, /browser|old/);
  });

  it("runs the files whose path contains a name", () => {
    const { status, stdout } = run("tensor");
    assert.equal(status, 0);
    assert.match(stdout, /^all +1 +0\.\d\d +0\.\d\d +1 +0 +1$/m);
  });

  it("runs the tests of test/integration only if asked to", () => {
    const { status, stdout } = run("--integration");
    assert.equal(status, 0);
    assert.match(stdout, /^integration\/server +1 +0\.\d\d +0\.\d\d +1 +0 +0$/m);
    const other = run("browser");
    assert.deepEqual(
      [other.status, other.stderr],
      [1, "no test file matches 'browser'; try npm run test:integration -- browser\n"],
    );
  });

  it("runs small files in one process, and reports each by its name even if it cannot be imported", () => {
    const shared = temporaryFolder();
    write("tensor/first", 'globalThis.isShared = true; test("fits", () => {});', shared);
    write("tensor/second", 'test("shares", () => { if (!globalThis.isShared) throw new Error(); });', shared);
    write("tensor/third", 'throw new Error("cannot be imported");', shared);
    const { status, stdout } = runIn(shared);
    assert.equal(status, 1);
    assert.match(stdout, /^tensor +3 +0\.\d\d +0\.\d\d +2 +1 +0$/m);
    assert.match(stdout, /cannot be imported/);
  });

  it("rejects a name that no file has", () => {
    const { status, stderr } = run("nothing");
    assert.deepEqual([status, stderr], [1, "no test file matches 'nothing'\n"]);
  });
});
