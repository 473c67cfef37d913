import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { epalm, temporaryFolder } from "../../../support/cli-process.js";

const folder = temporaryFolder();

describe("epalm completion", () => {
  for (const shell of ["zsh", "fish"]) {
    const isThere = spawnSync(shell, ["-c", "true"]).status === 0;
    it(`prints a script that ${shell} can read`, { skip: !isThere && `${shell} is not installed` }, async () => {
      const { code, stdout, stderr } = await epalm(["completion", shell]);
      assert.deepEqual([code, stderr], [0, ""]);
      const script = join(folder, `epalm.${shell}`);
      writeFileSync(script, stdout);
      const read = spawnSync(shell, ["-n", script], { encoding: "utf8" });
      assert.equal(read.status, 0, read.stderr);
    });
  }
});
