// Tests the Dockerfile without a container engine. Its steps run one by one in clean root file systems made by
// debootstrap, and the resulting image is started by its CMD: as its user, with a read-only root and as process 1.
// Requires root and debootstrap. Usage: node scripts/check-image.js [--keep]
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import dockerignore from "@balena/dockerignore";
import { copyTree, diskBytes, innerProcess, makeBase, run, runBeside, runInRoot, startInRoot } from "./clean-root.js";
import { readStages } from "./image-recipe.js";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Not the image's default port, which another program may be using on this machine. */
const PORT = "18473";
const GOLDEN = "test/fixtures/goldens/opt-shared-1token";

const work = mkdtempSync(join(tmpdir(), "epalm-image-"));
try {
  makeBase(join(work, "base"));
  console.log(`base: ${megabytes(diskBytes(join(work, "base")))}`);
  const image = buildStages();
  checkContents(image);
  await checkRunning(image, tinyModel());
} finally {
  if (!process.argv.includes("--keep")) rmSync(work, { recursive: true, force: true });
}

/** Runs every stage and returns the last one. */
function buildStages() {
  const stages = new Map();
  for (const { name, base, steps } of readStages(readFileSync("Dockerfile", "utf8"))) {
    const parent = stages.get(base);
    const stage = {
      root: join(work, name),
      folder: parent?.folder ?? "/",
      user: parent?.user ?? "0:0",
      environment: { PATH, ...parent?.environment },
    };
    copyTree(parent?.root ?? join(work, "base"), stage.root);
    for (const step of steps) {
      const started = Date.now();
      takeStep(stage, step, stages);
      console.log(
        `${name}: ${step.keyword} ${step.text.slice(0, 90)} (${((Date.now() - started) / 1000).toFixed(1)} s)`,
      );
    }
    stages.set(name, stage);
  }
  return [...stages.values()].at(-1);
}

function takeStep(stage, { keyword, flags, words, values, text }, stages) {
  switch (keyword) {
    case "WORKDIR":
      stage.folder = resolve(stage.folder, words[0]);
      mkdirSync(join(stage.root, stage.folder), { recursive: true });
      return;
    case "COPY":
      return copyInto(stage, flags, words, stages);
    case "RUN":
      return runInRoot(stage.root, stage.folder, text.replace(/\\\n/g, " "), stage.environment);
    case "ENV":
      Object.assign(stage.environment, Object.fromEntries(values));
      return;
    case "USER":
      stage.user = words[0];
      return;
    case "HEALTHCHECK":
      stage.healthcheck = healthCommand(text);
      return;
    case "ENTRYPOINT":
    case "CMD":
      stage[keyword.toLowerCase()] = words;
      return;
    case "STOPSIGNAL":
      stage.stopSignal = words[0];
      return;
    case "EXPOSE":
    case "LABEL":
      return;
    default:
      throw new TypeError(`${keyword} is not supported`);
  }
}

/** Parses the JSON form after `CMD`. */
function healthCommand(text) {
  const command = JSON.parse(text.slice(text.indexOf("CMD") + 3));
  assert.ok(Array.isArray(command));
  return command;
}

function copyInto(stage, flags, words, stages) {
  const target = words.at(-1);
  const to = join(stage.root, resolve(stage.folder, target));
  const sources = words.slice(0, -1);
  for (const source of sources) {
    const intoFolder = target.endsWith("/") || sources.length > 1;
    const from = flags.from ? join(stages.get(flags.from).root, source) : resolve(source);
    const isFile = statSync(from).isFile();
    const place = isFile && intoFolder ? join(to, source.split("/").at(-1)) : to;
    if (flags.from) copyTree(from, place);
    else copyContext(source, place);
  }
}

/** Copies the files that a fresh clone of the repository contains, except those that .dockerignore excludes. */
function copyContext(source, to) {
  const ignored = dockerignore().add(readFileSync(".dockerignore", "utf8"));
  const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z", source], {
    encoding: "utf8",
  });
  const kept = files.split("\0").filter((file) => file !== "" && existsSync(file) && !ignored.ignores(file));
  assert.ok(kept.length > 0, `COPY ${source}: nothing to copy`);
  for (const file of kept) {
    const place = kept.length === 1 && file === source ? to : join(to, file);
    mkdirSync(dirname(place), { recursive: true });
    cpSync(file, place);
  }
}

function checkContents({ root, user }) {
  assert.notEqual(user.split(":")[0], "0", "the image's user is root");
  const app = join(root, "app");
  for (const name of [
    "package.json",
    "LICENSE",
    "NOTICE",
    "THIRD-PARTY.md",
    "dist/src/cli/main.js",
    "src/server/page/index.html",
  ]) {
    assert.ok(existsSync(join(app, name)), `${name} is missing`);
  }
  for (const name of ["test", "dist/test", "node_modules/typescript", "node_modules/onnxruntime-web"]) {
    assert.ok(!existsSync(join(app, name)), `${name} is in the image`);
  }
  const packages = diskBytes(join(app, "node_modules"));
  console.log(`added to the base: ${megabytes(diskBytes(app))}, including packages of ${megabytes(packages)}`);
}

/** Builds a model with the program in this checkout; the image accepts any model folder. */
function tinyModel() {
  const output = join(work, "model");
  const sources = ["--encoder", join(GOLDEN, "encoder"), "--decoder", join(GOLDEN, "decoder")];
  const adapter = ["--adapter", `main=${join(GOLDEN, "adapter.pth")}`];
  run("node", ["dist/src/cli/main.js", "build", ...sources, ...adapter, "--precision", "fp32", "--output", output]);
  return output;
}

async function checkRunning(image, model) {
  mkdirSync(join(image.root, "models"), { recursive: true });
  const environment = { ...image.environment, EPALM_PORT: PORT, EPALM_MODELS: "tiny=/models" };
  const child = startInRoot(image.root, {
    folder: image.folder,
    user: image.user,
    environment,
    binds: { "/models": model },
    command: [...image.entrypoint, ...image.cmd],
  });
  let told = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      told += chunk;
    });
  }
  const exit = once(child, "exit");
  try {
    await ready(child, () => told);
    const pid = innerProcess(child);
    checkPrivileges(pid, image.user);
    const beside = (command) => runBeside(child, { user: image.user, environment, command });
    const health = beside(image.healthcheck);
    assert.equal(health.code, 0, `HEALTHCHECK: ${health.output}`);
    const elsewhere = runBeside(child, {
      user: image.user,
      environment: { ...environment, EPALM_PORT: "1" },
      command: image.healthcheck,
    });
    assert.equal(elsewhere.code, 1, "HEALTHCHECK passes although nothing is listening");
    for (const place of ["/written", "/app/written", "/models/written"]) {
      assert.notEqual(beside(["touch", place]).code, 0, `${place} could be written`);
    }
    await checkAnswers(() => told);
    process.kill(pid, image.stopSignal);
    const [code] = await exit;
    assert.equal(code, 0, `${image.stopSignal}: exited with ${code}\n${told}`);
  } finally {
    child.kill("SIGKILL");
  }
  console.log(
    "ran as the image's user, read-only, as process 1; HEALTHCHECK, /readyz, /, /docs, /caption, /vqa and SIGTERM passed",
  );
}

async function ready(child, told) {
  for (let attempt = 0; attempt < 120; attempt++) {
    assert.equal(child.exitCode, null, `exited before it was ready:\n${told()}`);
    const response = await fetch(`http://127.0.0.1:${PORT}/readyz`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((wait) => setTimeout(wait, 250));
  }
  assert.fail(`not ready after 30 seconds:\n${told()}`);
}

/** Checks the privileges that the kernel reports for a process. */
function checkPrivileges(pid, user) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name) => status.match(new RegExp(`^${name}:\\s+(.*)$`, "m"))?.[1];
  assert.equal(field("Uid")?.split("\t")[0], user.split(":")[0]);
  assert.equal(field("NSpid")?.split("\t").at(-1), "1");
  for (const set of ["CapEff", "CapPrm", "CapBnd"]) assert.match(field(set) ?? "", /^0+$/);
  assert.equal(field("NoNewPrivs"), "1");
}

async function checkAnswers(told) {
  const address = `http://127.0.0.1:${PORT}`;
  for (const path of ["/healthz", "/readyz", "/", "/docs/", "/openapi.json", "/metrics"]) {
    assert.equal((await fetch(address + path)).status, 200, path);
  }
  const picture = new Blob([readFileSync(pictureFile())]);
  for (const [path, question] of [["/caption"], ["/vqa", "what is it?"]]) {
    const form = new FormData();
    if (question) form.set("question", question);
    form.set("max_tokens", "5");
    form.set("image", picture, "picture");
    const response = await fetch(address + path, { method: "POST", body: form });
    const answer = await response.text();
    assert.equal(response.status, 200, `${path}: ${answer}\n${told()}`);
    assert.equal(typeof JSON.parse(answer).text, "string", answer);
  }
}

function pictureFile() {
  const [file] = execFileSync("git", ["ls-files", "test/fixtures/media"], { encoding: "utf8" })
    .split("\n")
    .filter((name) => /\.(png|jpe?g)$/.test(name));
  assert.ok(file, "no image in test/fixtures/media");
  return file;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
