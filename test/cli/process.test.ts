import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { readEnvironment } from "../../src/core/environment.js";
import { GOLDEN } from "../support/cli-process.js";

const MAIN = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));

describe("epalm | head", () => {
  it("ends without an error when the pipe is closed", async () => {
    const child = spawn(process.execPath, [MAIN, "inspect", join(GOLDEN, "decoder")]);
    child.stdout.destroy();
    let stderr = "";
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.deepEqual([code, stderr], [0, ""]);
  });
});

describe("the command's file", { skip: process.platform === "win32" && "Windows has no executable bit" }, () => {
  it("is executable after each build, because npx sets the bit only when it creates the link", () => {
    assert.equal(statSync(MAIN).mode & 0o111, 0o111);
  });
});

describe("a version of Node that is too old", () => {
  it("is reported on one line", async () => {
    // Without this feature, CommonJS packages cannot load ES modules.
    const args = ["--no-experimental-require-module", MAIN, "serve", "--port", "0"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.equal(code, 1);
    const got = `got ${process.versions.node}`;
    assert.ok(stderr.endsWith(`epalm: Node: expected 20.19, or 22.12 and later, ${got}\n`), stderr);
  });
});

describe("readEnvironment", () => {
  it("uses EPALM_CACHE or else a folder in HF_HOME, and treats empty variables as absent", () => {
    const cacheOf = (variables: NodeJS.ProcessEnv) => readEnvironment(variables).hub.cacheFolder;
    assert.equal(cacheOf({ EPALM_CACHE: "/cache", HF_HOME: "/home" }), "/cache");
    assert.equal(cacheOf({ EPALM_CACHE: "", HF_HOME: "/home" }), join("/home", "epalm"));
    assert.equal(cacheOf({}), undefined);
    assert.equal(readEnvironment({ HF_TOKEN: "" }).hub.token, undefined);
    assert.equal(readEnvironment({ EPALM_DEBUG: "1" }).debug, true);
    assert.equal(readEnvironment({}).debug, false);
  });
});
