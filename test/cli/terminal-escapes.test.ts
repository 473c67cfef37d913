import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { escapeControls, formatTable } from "../../src/cli/output/output.js";
import { writeSafetensors } from "../../src/formats/safetensors.js";
import { constantSource } from "../../src/tensor/tensor.js";
import { epalmProcess, temporaryFolder } from "../support/cli-process.js";

/** Sets the title of the terminal, clears the screen with a C1 control, turns the direction of the text around. */
const HOSTILE = "\x1b]0;owned\x07\x9b2J\u202etxt";
const RAW = /[^\n\t\P{Cc}]|[\u202a-\u202e\u2066-\u2069]/u;
const SHOWN = "\\u001b]0;owned\\u0007\\u009b2J\\u202etxt";

const folder = temporaryFolder();

function written(name: string, tensor: string, metadata: Record<string, string> = {}): string {
  const path = join(folder, name);
  writeSafetensors(path, [[tensor, constantSource("float32", [1], Float32Array.of(1))]], metadata);
  return path;
}

describe("output from outside", () => {
  it("is escaped where it could control the terminal, and only there", () => {
    assert.equal(escapeControls(HOSTILE), SHOWN);
    assert.equal(escapeControls("a\tb\nété 猫 👨‍👩‍👧 \u00a0"), "a\tb\nété 猫 👨‍👩‍👧 \u00a0");
    const rows = [
      ["a\nb", "c"],
      ["d", "e"],
    ];
    assert.equal(formatTable(rows), "a\\u000ab  c\nd         e");
    const everything = Array.from({ length: 0xd800 }, (_, code) => String.fromCharCode(code)).join("");
    assert.equal(JSON.parse(escapeControls(JSON.stringify(everything))), everything);
    assert.doesNotMatch(escapeControls(everything), RAW);
  });

  it("of a checkpoint: names, metadata and the file itself", async () => {
    const path = written(`${HOSTILE}.safetensors`, HOSTILE, { [HOSTILE]: HOSTILE });
    const text = await epalmProcess(["inspect", path]);
    const json = await epalmProcess(["inspect", path, "--json"]);
    for (const { code, stdout, stderr } of [text, json]) {
      assert.deepEqual([code, stderr], [0, ""]);
      assert.doesNotMatch(stdout, RAW);
      assert.ok(stdout.includes(SHOWN));
    }
    assert.deepEqual(JSON.parse(json.stdout).tensors[0].name, HOSTILE);
  });

  it("of errors about files, configs and options", async () => {
    const path = join(folder, `${HOSTILE}.yaml`);
    writeFileSync(
      path,
      `"${HOSTILE.replaceAll("\x1b", "\\e").replaceAll("\x07", "\\a").replaceAll("\x9b", "\\x9b")}": 1\n`,
    );
    mkdirSync(join(folder, HOSTILE));
    const commands = [
      ["train", path],
      ["fedmae", "pretrain", path],
      ["inspect", join(folder, HOSTILE)],
      ["inspect", join(folder, `no ${HOSTILE}`)],
      ["caption", join(folder, HOSTILE), "--model", HOSTILE],
      ["caption", `--${HOSTILE}`],
      [HOSTILE],
    ];
    const ends = await Promise.all(commands.map((command) => epalmProcess(command, { env: { EPALM_DEBUG: "" } })));
    for (const { code, stdout, stderr } of ends) {
      assert.notEqual(code, 0);
      assert.doesNotMatch(stdout + stderr, RAW);
      assert.ok(stderr.includes("owned"), stderr);
    }
  });
});
