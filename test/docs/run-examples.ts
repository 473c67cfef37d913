import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import { before } from "node:test";
import sharp from "sharp";
import ts from "typescript";
import { buildTiny } from "../support/cli-process.js";
import { startServer } from "../support/running-server.js";
import { startTinyHub } from "../support/tiny-hub.js";
import { ADAPTER_FILE, buildTinyModel, temporaryFolder } from "../support/tiny-model.js";
import { type Block, blocksOf, pages } from "./pages.js";

/*
 * Runs the examples of the README and docs unchanged, block by block, in a project that has epalm installed and some
 * images. Tiny models are served under the names of public ones, so that commands need few changes; the tables below
 * list these.
 */

/** Model folders that the examples of a page expect. */
const givenModels: Readonly<Record<string, readonly string[]>> = {
  "docs/command-line.md": ["my-model"],
  "docs/precision.md": ["my-model-int8", "my-model-fp32"],
  "docs/serving.md": ["my-model"],
  "docs/training.md": ["captioner"],
};

/** Values that are too large for tiny models or for a short test. */
const smaller: readonly (readonly [RegExp, string])[] = [
  [/injectedStates: 6/, "injectedStates: 3"],
  [/startLayer: (6|15|21)/, "startLayer: 2"],
  [/endLayer: (11|27|29)/, "endLayer: 5"],
  [/epochs: 8/, "epochs: 1"],
  [/pixelShuffle: 4 \}, projection: linear/, "pixelShuffle: 2 }, projection: linear"],
];

const SERVICE = "http://localhost:8080";
/** Limit for one block. */
const TIMEOUT_MS = 240_000;

/** The files that every project starts with, and the model folders that some start with. */
const base = temporaryFolder();
const models = temporaryFolder();
const projects = temporaryFolder();
const hub = await startTinyHub();
const { url } = await startServer({ models: { tiny: await buildTinyModel() } });

before(async () => {
  mkdirSync(join(base, "photos"));
  for (const folder of ["plants", "scenes/train/pictures"]) mkdirSync(join(base, folder), { recursive: true });
  // The commands of a clone name the bundled model by this path.
  mkdirSync(join(base, "models"));
  symlinkSync(join(process.cwd(), "models/default"), join(base, "models/default"));
  for (const [at, name] of ["photo", "a", "b", "photos/a", "photos/b", "photos/c"].entries()) {
    const background = { r: 40 * at, g: 200 - 30 * at, b: 90 };
    await sharp({ create: { width: 48, height: 36, channels: 3, background } })
      .jpeg()
      .toFile(join(base, `${name}.jpg`));
  }
  const lines = (rows: readonly object[]) => `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`;
  const names = ["a", "b", "c"];
  const captions = (folder: string) =>
    lines(names.map((name) => ({ image: `${folder}${name}.jpg`, caption: `a plant called ${name}` })));
  for (const name of ["train", "validation", "test"])
    writeFileSync(join(base, `plants/${name}.jsonl`), captions("../photos/"));
  writeFileSync(join(base, "photos/train.jsonl"), captions(""));
  const asked = names.map((name) => ({ image: `photos/${name}.jpg`, question: "what colour is it?" }));
  writeFileSync(join(base, "questions.jsonl"), lines(asked));
  const answered = names.map((name) => ({
    image: `../../photos/${name}.jpg`,
    question: "what colour is it",
    answer: "green",
  }));
  writeFileSync(join(base, "scenes/train/questions.jsonl"), lines(answered));
  cpSync(join(base, "photo.jpg"), join(base, "scenes/train/pictures/000000.jpg"));
  const splits = names.map((name, at) => ({
    filename: `${name}.jpg`,
    split: at === 0 ? "test" : "train",
    sentences: [{ raw: `a plant called ${name}` }],
  }));
  mkdirSync(join(base, "flickr8k"));
  cpSync(join(base, "photos"), join(base, "flickr8k/images"), { recursive: true });
  writeFileSync(join(base, "flickr8k/dataset_flickr8k.json"), JSON.stringify({ dataset: "flickr8k", images: splits }));
  writeFileSync(join(base, "sentences.txt"), "a brown dog\nan old red bus\n");
  for (const name of ["adapter", "caption", "vqa"]) cpSync(ADAPTER_FILE, join(base, `${name}.pth`));
  await installPackage(base);
  for (const name of ["my-model", "captioner", "my-model-fp32", "my-model-int8"]) {
    const precision = name.endsWith("int8") ? "int8" : "fp32";
    const built = await buildTiny(join(models, name), "--precision", precision);
    assert.equal(built.code, 0, built.stderr);
  }
});

/** Leaves the folder as `npm install` does, with an `npx` that uses no registry. */
async function installPackage(folder: string): Promise<void> {
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(process.cwd(), join(folder, "node_modules/epalm"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n');
  mkdirSync(join(folder, "bin"));
  const main = join(process.cwd(), "dist/src/cli/main.js");
  const programs = { epalm: `exec '${process.execPath}' '${main}' "$@"`, npx: 'exec "$@"' };
  for (const [name, line] of Object.entries(programs)) {
    writeFileSync(join(folder, "bin", name), `#!/bin/sh\n${line}\n`);
    chmodSync(join(folder, "bin", name), 0o755);
  }
}

interface Example {
  readonly name: string;
  /** The reason for which it is not run. */
  readonly skip: string | false;
  readonly timeout: number;
  /** Fails with the output of the block if its status is not 0. */
  run(): Promise<void>;
}

const all = pages.flatMap(blocksOf);

/** The examples of a page, in order, and a function that creates the project in which they run. */
export function examplesOf(page: string): { readonly prepare: () => void; readonly examples: readonly Example[] } {
  const project = join(projects, basename(page, ".md"));
  const runnable = blocksOf(page).filter(({ language }) => ["sh", "js", "ts"].includes(language));
  return {
    prepare() {
      cpSync(base, project, { recursive: true });
      for (const name of givenModels[page] ?? []) cpSync(join(models, name), join(project, name), { recursive: true });
      for (const block of all.filter(({ language }) => language === "yaml")) {
        const [, name] = /^# ([\w-]+\.yaml)$/m.exec(block.code) ?? [];
        if (name !== undefined) writeFileSync(join(project, name), inProject(block.code));
      }
    },
    examples: runnable.map((block) => ({
      name: `runs the ${block.language} block of line ${block.line}`,
      skip: block.notRun ?? false,
      timeout: TIMEOUT_MS,
      async run() {
        const { status, output } = await runBlock(block, project);
        assert.equal(status, 0, output);
      },
    })),
  };
}

function inProject(code: string): string {
  return smaller.reduce((text, [from, to]) => text.replace(from, to), code);
}

async function runBlock({ language, code, line }: Block, project: string) {
  const text = inProject(code);
  if (language === "sh") return run("bash", ["-c", await shellScript(text)], project);
  const name = `example-${line}`;
  const program = text.replaceAll(SERVICE, url);
  // Another test checks the types, together with those of the examples in docstrings.
  writeFileSync(join(project, `${name}.js`), language === "ts" ? ts.transpile(program, moduleOptions) : program);
  return run(process.execPath, [`${name}.js`], project);
}

const moduleOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 };

/** Ends at the first command that fails. A service runs in the background until the end of the block. */
async function shellScript(code: string): Promise<string> {
  const port = await freePort();
  const address = `http://127.0.0.1:${port}`;
  const waits = `for _ in $(seq 600); do curl -sf ${address}/readyz > /dev/null && break; sleep 0.1; done`;
  const body = code
    .replaceAll(SERVICE, address)
    .replace(/^((?:npx )?epalm serve\b.*)$/gm, (line) => {
      const own = line.replace(/ --port \d+/, "");
      return `${own.replace(/\s+#.*$/, "")} --port ${port} & service=$!\n${waits}`;
    })
    // Without these options, curl succeeds for an error status.
    .replace(/^curl /gm, "curl -sS --fail-with-body ");
  return `set -euo pipefail\nservice=\ntrap '[ -z "$service" ] || kill $service' EXIT\n${body}`;
}

function run(program: string, args: readonly string[], cwd: string) {
  const child = spawn(program, args, {
    cwd,
    env: {
      ...process.env,
      PATH: `${join(cwd, "bin")}:${process.env.PATH}`,
      HF_ENDPOINT: hub,
      EPALM_CACHE: join(cwd, ".cache"),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (piece) => {
      output += piece;
    });
  }
  return new Promise<{ status: number | null; output: string }>((resolve) =>
    child.on("close", (status) => resolve({ status, output })),
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}
