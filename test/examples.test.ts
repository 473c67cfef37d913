import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";
import { temporaryFolder } from "./support/temporary-folder.js";

const SAMPLES = "models/default/samples";
const RED_APPLE = join(SAMPLES, "red-apple.jpg");

function start(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [join("examples", program), ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** A line of caption-folder.js. */
interface WrittenLine {
  readonly image: string;
  readonly caption?: string;
  readonly error?: string;
}

/** The lines that a program writes until it ends with status 0. */
async function linesOf(program: string, ...args: string[]): Promise<string[]> {
  const child = start(program, args);
  const lines: string[] = [];
  if (child.stdout) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  const [status] = await once(child, "close");
  assert.equal(status, 0, lines.join("\n"));
  return lines;
}

describe("the examples", () => {
  it("each have a row in their README", () => {
    const readme = readFileSync("examples/README.md", "utf8");
    for (const name of readdirSync("examples").filter((file) => file.endsWith(".js"))) {
      assert.ok(readme.includes(`[${name}](${name})`), name);
    }
  });

  it("caption-folder.js writes a caption or an error for each image", async () => {
    const folder = join(temporaryFolder(), "images");
    mkdirSync(folder);
    cpSync(RED_APPLE, join(folder, "red-apple.jpg"));
    writeFileSync(join(folder, "damaged.png"), "not an image");
    const output = join(folder, "captions.jsonl");
    await linesOf("caption-folder.js", folder, output);
    const lines = readFileSync(output, "utf8").trim().split("\n");
    const written = lines.map((line) => JSON.parse(line) as WrittenLine);
    const { caption, error } = Object.assign({}, ...written) as WrittenLine;
    assert.deepEqual(written.map(({ image }) => image).toSorted(), ["damaged.png", "red-apple.jpg"]);
    assert.match(caption ?? "", /blue background/);
    assert.match(error ?? "", /^unsupported_media: /);
  });

  it("train-adapter.js trains an adapter and captions with it", async () => {
    const output = join(temporaryFolder(), "run");
    const lines = await linesOf("train-adapter.js", "examples/captions.jsonl", output);
    assert.equal(lines[0], "training 62080 parameters, 0.43 % of all");
    assert.match(lines.at(-1) ?? "", /^caption with the new adapter: .* background$/);
    assert.ok(readdirSync(output).includes("adapter.safetensors"));
  });

  it("fastify-app.js answers with a caption, names what is wrong, and stops on SIGTERM", async () => {
    const app = start("fastify-app.js", [], { PORT: "0" });
    const exit = once(app, "exit");
    assert.ok(app.stdout);
    const [line] = await once(createInterface({ input: app.stdout }), "line");
    const address = /^listening on (http:\S+)$/.exec(line)?.[1];
    const post = (type: string, body: Blob | string) =>
      fetch(`${address}/captions`, { method: "POST", headers: { "content-type": type }, body });
    const answer = await post("image/jpeg", new Blob([new Uint8Array(readFileSync(RED_APPLE))]));
    assert.equal(answer.status, 200);
    assert.match(((await answer.json()) as { caption: string }).caption, /blue background/);
    const damaged = await post("image/png", "not an image");
    assert.deepEqual([damaged.status, ((await damaged.json()) as { code: string }).code], [415, "unsupported_media"]);
    app.kill("SIGTERM");
    assert.deepEqual(await exit, [0, null]);
  });
});
