import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, describe, it } from "node:test";

const SCRIPT = resolve("scripts", "third-party.js");
const folder = mkdtempSync(join(tmpdir(), "epalm-notices-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const check = (cwd: string) => spawnSync(process.execPath, [SCRIPT], { cwd, encoding: "utf8" });

describe("THIRD-PARTY.md", () => {
  it("is current", () => {
    const { status, stderr } = check(process.cwd());
    assert.equal(status, 0, stderr);
  });

  it("names every package that package.json has for users", () => {
    const { dependencies } = JSON.parse(readFileSync("package.json", "utf8"));
    const text = readFileSync("THIRD-PARTY.md", "utf8");
    for (const [name, version] of Object.entries<string>(dependencies)) {
      const [, alias] = /^npm:(.+)@/.exec(version) ?? [];
      assert.ok(text.includes(`| \`${alias ?? name}\` |`), name);
    }
  });

  it("is out of date once a package has another licence", () => {
    for (const file of ["package.json", "THIRD-PARTY.md"]) cpSync(file, join(folder, file));
    symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
    const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
    lock.packages["node_modules/fastify"].license = "AGPL-3.0-only";
    writeFileSync(join(folder, "package-lock.json"), JSON.stringify(lock));
    const { status, stderr } = check(folder);
    assert.equal(status, 1);
    assert.match(stderr, /out of date/);
  });
});
