import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startServer } from "../support/running-server.js";
import { buildTinyModel, picture, temporaryFolder } from "../support/tiny-model.js";

/*
 * Runs the examples of docs/sdk.md, unchanged except for the port of the service, in a project that has epalm
 * installed.
 */

const folder = await buildTinyModel();
const { url } = await startServer({ models: { tiny: folder } });
const project = temporaryFolder();
mkdirSync(join(project, "node_modules"));
symlinkSync(process.cwd(), join(project, "node_modules/epalm"));
cpSync(folder, join(project, "model"), { recursive: true });
writeFileSync(join(project, "photo.png"), await picture());

const said: readonly RegExp[] = [
  /\S/,
  /what colour\? .*(yes|no) 0\.\d+.*isReady: true/s,
  /30 tokens/,
  /^400 invalid_option maxNewTokens [\w-]{36}$/,
  /^cancelled$/,
  /\S/,
];
const examples = Array.from(
  readFileSync("docs/sdk.md", "utf8").matchAll(/^```js\n(.*?)^```$/gms),
  ([, code = ""]) => code,
);

test("the output of every example is checked", () => {
  assert.equal(examples.length, said.length);
});

for (const [at, code] of examples.entries()) {
  test(`example ${at + 1} of docs/sdk.md runs`, async () => {
    const file = `example-${at + 1}.mjs`;
    writeFileSync(join(project, file), code.replaceAll("http://localhost:8080", url));
    const { status, output, errors } = await runNode(file);
    assert.equal(status, 0, errors);
    assert.match(output.trim(), said[at] ?? /$^/);
  });
}

/** Asynchronous, because the service runs in this process. */
function runNode(file: string): Promise<{ status: number | null; output: string; errors: string }> {
  const child = spawn(process.execPath, [file], { cwd: project });
  let output = "";
  let errors = "";
  child.stdout.on("data", (piece) => {
    output += piece;
  });
  child.stderr.on("data", (piece) => {
    errors += piece;
  });
  return new Promise((resolve) => child.on("close", (status) => resolve({ status, output, errors })));
}
