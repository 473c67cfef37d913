import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { precisions } from "../../../src/core/precision.js";
import { epalm, temporaryFolder } from "../../support/cli-process.js";

const folder = temporaryFolder();
const shells = ["bash", "zsh", "fish"] as const;
const scriptOf = (shell: string) => join(folder, `epalm.${shell}`);

before(async () => {
  for (const shell of shells) {
    const { code, stdout, stderr } = await epalm(["completion", shell]);
    assert.deepEqual([code, stderr], [0, ""]);
    writeFileSync(scriptOf(shell), stdout);
  }
});

/** What bash offers behind these words; the last one is being typed. */
function offered(...words: readonly string[]): string[] {
  const program = `source "$0" && COMP_WORDS=("$@") && COMP_CWORD=$(($# - 1)) && { _epalm; printf '%s\\n' "\${COMPREPLY[@]}"; }`;
  const { status, stdout, stderr } = spawnSync("bash", ["-c", program, scriptOf("bash"), ...words], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return stdout.split("\n").filter((word) => word !== "");
}

describe("completion in bash", () => {
  it("offers all commands, and those that begin like it", () => {
    const all = offered("epalm", "");
    for (const command of ["build", "caption", "vqa", "serve", "train", "eval", "fedmae", "bench", "completion"]) {
      assert.ok(all.includes(command), command);
    }
    assert.deepEqual(offered("epalm", "in"), ["inspect"]);
  });

  it("offers the commands of a command", () => {
    assert.deepEqual(offered("epalm", "fedmae", "re"), ["reconstruct"]);
    assert.deepEqual(offered("epalm", "fedmae", "import", "--dec"), ["--decoder-heads"]);
  });

  it("offers options behind a dash, and files without one", () => {
    assert.deepEqual(offered("epalm", "caption", "cat.png", "--json"), ["--json", "--jsonl"]);
    assert.ok(offered("epalm", "vqa", "-").includes("-q"));
    assert.deepEqual(offered("epalm", "caption", "ca"), []);
  });

  it("offers the values of an option, however it is typed", () => {
    assert.deepEqual(offered("epalm", "build", "--precision", ""), precisions);
    assert.deepEqual(offered("epalm", "build", "--precision", "=", "int"), ["int8", "int4", "int4-fp32", "int4-fp16"]);
    assert.deepEqual(offered("epalm", "build", "--precision", "="), precisions);
    assert.deepEqual(offered("epalm", "completion", ""), [...shells]);
  });

  it("leaves paths and texts to bash", () => {
    assert.deepEqual(offered("epalm", "build", "--output", ""), []);
    assert.deepEqual(offered("epalm", "caption", "--model", "-"), []);
  });
});

it("is a script that bash can read", () => {
  const { status, stderr } = spawnSync("bash", ["-n", scriptOf("bash")], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
});

it("is refused for a shell that is not known", async () => {
  const { code, stderr } = await epalm(["completion", "tcsh"]);
  assert.equal(code, 2);
  assert.match(stderr, /Allowed choices are bash, zsh, fish/);
});
