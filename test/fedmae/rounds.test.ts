import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { pretrain } from "../../src/fedmae/pretrain.js";
import { readTask, writeTask, writeUpdate } from "../../src/fedmae/round-files.js";
import { applyRound, checkRound, planRound, trainRound } from "../../src/fedmae/rounds.js";
import { writeSafetensors } from "../../src/formats/safetensors.js";
import { constantSource, floats, type Tensor } from "../../src/tensor/tensor.js";
import { listImages } from "../../src/training/data/list-images.js";
import { epalm } from "../support/cli-process.js";
import {
  drawStripes,
  inThisProcess,
  readJsonLines,
  temporaryFolder,
  tensorsOf,
  tinyConfig,
} from "../support/tiny-clients.js";

const folder = temporaryFolder();
const at = (...names: string[]) => join(folder, ...names);
const names = ["north", "east", "south", "west"];
const paths = names.map((name) => ({ name, path: at("images", name) }));
const withoutPaths = names.map((name) => ({ name }));

before(async () => {
  for (const [index, name] of names.entries()) {
    await drawStripes(at("images", name), 2 + index, index % 2 === 0 ? "across" : "down");
  }
});

type Changes = Parameters<typeof tinyConfig>[0];

function config(output: string, changes: Changes = {}) {
  return tinyConfig({ localEpochs: 1, clients: withoutPaths, ...changes, output: at(output) });
}

/** Trains the clients of the planned round whose names are given, and writes their updates. */
async function trainAll(run: string, plan: Awaited<ReturnType<typeof planRound>>, only = names): Promise<string> {
  mkdirSync(at(run, "updates"), { recursive: true });
  if (plan.finished) return at(run, "updates");
  for (const { client, path } of plan.tasks.filter((task) => only.includes(task.client))) {
    const task = readTask(path);
    const images = await listImages(at("images", client));
    writeUpdate(at(run, "updates", `${client}.safetensors`), task, await inThisProcess({ task, images }));
  }
  return at(run, "updates");
}

function encoderBytes(run: string): Buffer {
  return readFileSync(at(run, "mae", "model.safetensors"));
}

describe("rounds on files", () => {
  const runs: readonly (readonly [what: string, changes: Changes])[] = [
    ["parallel with a part of the clients", { mode: "parallel", rounds: 3, participation: 0.5 }],
    ["greedy with copied blocks", { mode: "greedy", rounds: 2, newBlocks: "copy" }],
    ["repeat with FedProx", { mode: "repeat", rounds: 2, proximal: 0.5, participation: 0.75 }],
    ["full", { mode: "full", rounds: 1 }],
  ];
  for (const [what, changes] of runs) {
    it(`give the same encoder, bit for bit, as pretrain: ${what}`, async () => {
      const { rounds } = await pretrain(config(`${what} at once`, { ...changes, clients: paths }), {
        runClient: inThisProcess,
      });
      const settings = config(what, changes);
      for (let round = 1; ; round++) {
        const plan = await planRound(settings, at(what, "tasks"));
        if (plan.finished) {
          assert.equal(plan.encoder, at(what, "mae"));
          break;
        }
        assert.deepEqual([plan.round, plan.rounds], [round, rounds.length]);
        const outcome = await applyRound(settings, { updates: await trainAll(what, plan) });
        assert.equal(outcome.kind, "applied");
      }
      assert.deepEqual(encoderBytes(what), encoderBytes(`${what} at once`));
      const withoutCosts = (run: string) =>
        readJsonLines<(typeof rounds)[number]>(at(run, "rounds.jsonl")).map(({ round, clients }) => [
          round,
          clients.map((client) => (client.kind === "answered" ? [client.name, client.block, client.loss] : client)),
        ]);
      assert.deepEqual(withoutCosts(what), withoutCosts(`${what} at once`));
    });
  }

  it("plan the same tasks again until the round is applied", async () => {
    const settings = config("again");
    await planRound(settings, at("again", "first"));
    await planRound(settings, at("again", "second"));
    for (const name of names) {
      assert.deepEqual(
        readFileSync(at("again", "first", `${name}.safetensors`)),
        readFileSync(at("again", "second", `${name}.safetensors`)),
      );
    }
  });

  it("train a client in a process of its own, with the update and its cost in one file without names", async () => {
    const settings = config("process");
    await planRound(settings, at("process", "tasks"));
    const files = { task: at("process", "tasks", "north.safetensors"), output: at("process", "north.safetensors") };
    const update = await trainRound({ ...files, images: at("images", "north") });
    assert.equal(update.examples, 2);
    assert.ok(update.peakBytes > 10e6 && update.bytesUp < update.bytesDown);
    for (const path of Object.values(files)) {
      const text = readFileSync(path, "latin1");
      for (const secret of ["north", "images", ".png", folder]) assert.ok(!text.includes(secret), secret);
    }
  });
});

describe("an update that cannot be averaged", () => {
  const one = (tensor: Tensor, data: Float32Array, shape = tensor.shape) => constantSource("float32", shape, data);

  /** Rewrites the update of a client with other tensors, or with other values in its header. */
  function rewrite(path: string, change: (tensors: Map<string, ReturnType<typeof one>>) => unknown, values = {}) {
    const tensors = new Map(Array.from(tensorsOf(path), ([name, tensor]) => [name, one(tensor, floats(tensor))]));
    const text = readFileSync(path, "latin1");
    const header = JSON.parse(JSON.parse(`"${/"epalm\.fedmae\.update":"(.*?[^\\])"/.exec(text)?.[1]}"`));
    change(tensors);
    writeSafetensors(path, tensors, { "epalm.fedmae.update": JSON.stringify({ ...header, ...values }) });
  }
  const unchanged = () => undefined;

  const name = "norm.weight";
  const refused: readonly (readonly [what: string, spoil: (path: string) => void, reason: RegExp])[] = [
    [
      "with NaN",
      (path) => rewrite(path, (tensors) => tensors.set(name, nan())),
      /norm\.weight: contains NaN or Infinity$/,
    ],
    [
      "with another shape",
      (path) => rewrite(path, (tensors) => tensors.set(name, zeros([8]))),
      /norm\.weight: expected \[16\], got \[8\]$/,
    ],
    [
      "without a tensor",
      (path) => rewrite(path, (tensors) => tensors.delete(name)),
      /norm\.weight: missing from the update$/,
    ],
    [
      "with a tensor that was not requested",
      (path) => rewrite(path, (tensors) => tensors.set("pos_embed", zeros([4]))),
      /pos_embed: not one of the requested tensors$/,
    ],
    [
      "with integers",
      (path) => rewrite(path, (tensors) => tensors.set(name, constantSource("int32", [16], new Int32Array(16)))),
      /norm\.weight: expected float32, got int32$/,
    ],
    [
      "of another task",
      (path) => rewrite(path, unchanged, { seed: 1 }),
      /seed: expected \d+, that of the task, got 1$/,
    ],
    [
      "without images",
      (path) => rewrite(path, unchanged, { examples: 0 }),
      /'examples': expected an integer of at least 1, got 0$/,
    ],
    ["whose loss is null", (path) => rewrite(path, unchanged, { loss: null }), /'loss': expected a number, got null$/],
    ["with an unknown key", (path) => rewrite(path, unchanged, { name: "north" }), /'name': is not a known key$/],
    ["in a file that is cut short", (path) => writeFileSync(path, readFileSync(path).subarray(0, -1)), /^is cut short/],
    ["in a file that is a task", (path) => cpSync(at("hostile", "tasks", "east.safetensors"), path), /the key/],
    ["in a file of text", (path) => writeFileSync(path, "no update"), /^the safetensors header/],
  ];
  const zeros = (shape: readonly number[]) =>
    constantSource("float32", shape, new Float32Array(shape.reduce((product, axis) => product * axis, 1)));
  const nan = () => constantSource("float32", [16], new Float32Array(16).fill(Number.NaN));

  let updates = "";
  before(async () => {
    updates = await trainAll("hostile", await planRound(config("hostile"), at("hostile", "tasks")));
  });

  for (const [what, spoil, reason] of refused) {
    it(`is left out by name: ${what}`, async () => {
      const folder = at("hostile", what);
      cpSync(updates, folder, { recursive: true });
      spoil(join(folder, "east.safetensors"));
      const { accepted, leftOut } = await checkRound(config("hostile"), { updates: folder });
      assert.deepEqual(
        accepted.map(({ client, block, examples }) => [client, block, examples]),
        [
          ["north", 0, 2],
          ["south", 0, 4],
          ["west", 1, 5],
        ],
      );
      assert.deepEqual(
        leftOut.map(({ client }) => client),
        ["east"],
      );
      assert.match(leftOut[0]?.reason ?? "", reason);
    });
  }

  it("does not end the round, and neither does one that is missing", async () => {
    cpSync(at("hostile", "with NaN"), at("hostile", "two"), { recursive: true });
    const reasons = { west: "did not answer within 60 s" };
    const outcome = await applyRound(config("hostile"), { updates: at("hostile", "two"), reasons });
    assert.equal(outcome.kind, "applied");
    const [round] = readJsonLines<{ clients: readonly { name: string; kind: string; reason?: string }[] }>(
      at("hostile", "rounds.jsonl"),
    );
    assert.deepEqual(
      round?.clients.map(({ kind, name }) => `${name} ${kind}`),
      ["east left out", "north answered", "south answered", "west left out"],
    );
    assert.equal(round?.clients[3]?.reason, "did not answer within 60 s");
    assert.match(readFileSync(at("hostile", "report.html"), "utf8"), /round 1: west.*did not answer within 60 s/);
  });
});

describe("a round with too few updates", () => {
  it("is repeated, and stops the run after the last attempt with the reason", async () => {
    const settings = config("few", { minClients: 3, roundAttempts: 2, retrySeconds: 5 });
    const updates = await trainAll("few", await planRound(settings, at("few", "tasks")), ["north", "west"]);
    const outcome = await applyRound(settings, { updates });
    assert.deepEqual(outcome, {
      kind: "repeat",
      retry: { round: 1, attempts: 1, updates: 2, seconds: 5, reason: "east: returned no update" },
    });
    await assert.rejects(applyRound(settings, { updates }, { attempt: 2 }), {
      code: "internal",
      message: /^round 1: 2 clients returned an update, expected at least 3 \('minClients'\), in 2 attempts: east: /,
    });
    const plan = await planRound(settings, at("few", "tasks"));
    assert.equal(plan.finished ? 0 : plan.round, 1);
    await trainAll("few", plan, ["east"]);
    assert.equal((await applyRound(settings, { updates })).kind, "applied");
  });

  it("is repeated by pretrain, too", async () => {
    let attempts = 0;
    const settings = config("pretrain few", { clients: paths, minClients: 4, roundAttempts: 2, retrySeconds: 0 });
    const failing = pretrain(settings, {
      async runClient(run) {
        if (run.images.length === 2) throw new RangeError("no memory");
        return inThisProcess(run);
      },
      onRetry: ({ updates, reason }) => {
        attempts++;
        assert.deepEqual([updates, reason], [3, "north: no memory"]);
      },
    });
    await assert.rejects(failing, { code: "internal", message: /3 clients returned an update, expected at least 4/ });
    assert.equal(attempts, 1);
  });
});

describe("an aggregate", () => {
  it("replaces the mean of the updates", async () => {
    const settings = config("aggregated", { rounds: 1 });
    const updates = await trainAll("aggregated", await planRound(settings, at("aggregated", "tasks")));
    const plan = await planRound(settings, at("aggregated", "tasks"));
    const tensors = new Map<string, Tensor>();
    for (const { client, tensors: serverNames } of plan.finished ? [] : plan.tasks) {
      for (const [name, tensor] of tensorsOf(join(updates, `${client}.safetensors`))) {
        tensors.set(serverNames[name] ?? "", { ...tensor, data: floats(tensor).map(() => 0.25) });
      }
    }
    const write = (path: string, given: ReadonlyMap<string, Tensor>) => {
      const sources = Array.from(given, ([name, { type, shape, data }]) => {
        return [name, constantSource(type, shape, data)] as const;
      });
      writeSafetensors(path, sources);
      return path;
    };
    const refused: readonly (readonly [change: (given: Map<string, Tensor>) => unknown, message: RegExp])[] = [
      [(given) => given.delete("blocks.1.norm1.bias"), /^blocks\.1\.norm1\.bias: missing/],
      [(given) => given.set("extra", { type: "float32", shape: [1], data: new Float32Array(1) }), /^extra: not one/],
      [
        (given) => given.set("norm.bias", { type: "float32", shape: [16], data: new Float32Array(16).fill(Infinity) }),
        /aggregate\.safetensors: norm\.bias: contains NaN or Infinity$/,
      ],
    ];
    for (const [change, message] of refused) {
      const changed = new Map(tensors);
      change(changed);
      const aggregate = write(at("aggregate.safetensors"), changed);
      await assert.rejects(applyRound(settings, { updates }, { aggregate }), { code: "invalid_checkpoint", message });
    }
    await applyRound(settings, { updates }, { aggregate: write(at("aggregate.safetensors"), tensors) });
    for (const [name, { data }] of tensorsOf(at("aggregated", "mae", "model.safetensors"))) {
      if (!name.endsWith("pos_embed"))
        assert.ok(
          data.every((value) => Number(value) === 0.25),
          name,
        );
    }
  });
});

describe("a hostile task", () => {
  type Task = ReturnType<typeof readTask>;
  const changed = (task: Task, name: string, tensor: Tensor) => ({
    ...task,
    weights: new Map(task.weights).set(name, tensor),
  });
  const zeros = (...shape: number[]): Tensor => {
    return { type: "float32", shape, data: new Float32Array(shape.reduce((product, axis) => product * axis, 1)) };
  };
  const refused: readonly (readonly [what: string, change: (task: Task) => Task, message: RegExp])[] = [
    ["a tensor of another model", (task) => changed(task, "head.weight", zeros(2)), /unexpected tensor head\.weight/],
    [
      "another shape",
      (task) => changed(task, "norm.weight", zeros(8)),
      /norm\.weight: expected shape \[16\], got \[8\]/,
    ],
    [
      "NaN",
      (task) => changed(task, "norm.weight", { ...zeros(16), data: new Float32Array(16).fill(Number.NaN) }),
      /task\.safetensors: norm\.weight: contains NaN or Infinity/,
    ],
    [
      "another size than its config says",
      (task) => ({ ...task, config: { ...task.config, image_size: 80_000 } }),
      /pos_embed: expected shape/,
    ],
    ["positions to train", (task) => ({ ...task, trained: ["pos_embed"] }), /trained: expected .* got pos_embed/],
    ["a name to train that it lacks", (task) => ({ ...task, trained: ["x"] }), /trained: expected .* got x/],
    [
      "a negative number of epochs",
      (task) => ({ ...task, settings: { ...task.settings, localEpochs: -1 } }),
      /'settings\.localEpochs': expected an integer of at least 1, got -1/,
    ],
  ];
  for (const [what, change, message] of refused) {
    it(`is rejected: ${what}`, async () => {
      await planRound(config("tasks"), at("tasks", "tasks"));
      const task = readTask(at("tasks", "tasks", "north.safetensors"));
      writeTask(at("task.safetensors"), change(task));
      const given = async () => {
        const images = await listImages(at("images", "north"));
        return inThisProcess({ task: readTask(at("task.safetensors")), images });
      };
      await assert.rejects(given(), message);
    });
  }
});

describe("epalm fedmae round-*", () => {
  it("plans, trains, checks and applies rounds", async () => {
    writeFileSync(at("cli.json"), JSON.stringify({ ...config("cli", { rounds: 1 }), output: "cli" }));
    const settings = at("cli.json");
    const planned = await epalm(["fedmae", "round-plan", settings, "-o", at("cli", "tasks"), "--json"]);
    const plan = JSON.parse(planned.stdout);
    assert.deepEqual([plan.round, plan.rounds, plan.tasks.length], [1, 1, 4]);
    assert.equal(plan.tasks[1].tensors["blocks.0.norm1.weight"], "blocks.1.norm1.weight");
    const updates = at("cli", "updates");
    mkdirSync(updates);
    const output = join(updates, "north.safetensors");
    const files = ["--task", at("cli", "tasks", "north.safetensors"), "--images", at("images", "north")];
    const trained = await epalm(["fedmae", "round-client", ...files, "-o", output]);
    assert.match(trained.stdout, /north\.safetensors: 2 images · loss \d\.\d{4} · patch-mean baseline .* · peak /);
    writeFileSync(at("reasons.json"), JSON.stringify({ east: "left" }));
    const flags = [settings, "--updates", updates, "--reasons", at("reasons.json")];
    const checked = await epalm(["fedmae", "round-check", ...flags]);
    assert.match(
      checked.stdout,
      /^north: block 0, 2 images\neast: left out: left\nsouth: left out: returned no update\n/,
    );
    const applied = await epalm(["fedmae", "round-apply", ...flags, "--json"]);
    assert.equal(JSON.parse(applied.stdout).kind, "applied", applied.stderr);
    assert.match(applied.stderr, /^round 1: client east is left out: left$/m);
    const finished = await epalm(["fedmae", "round-plan", settings, "-o", at("cli", "tasks")]);
    assert.equal(finished.stdout, `finished: encoder ${at("cli", "mae")}\nreport  ${at("cli", "report.html")}\n`);
  });

  const refused: readonly (readonly [what: string, args: () => readonly string[], code: number, message: RegExp])[] = [
    ["a missing task", () => ["round-client", "--images", folder, "-o", "x"], 2, /--task/],
    [
      "a task that does not exist",
      () => ["round-client", "--task", at("none"), "--images", folder, "-o", "x"],
      1,
      /none: no such file/,
    ],
    [
      "reasons that are a list",
      () => {
        writeFileSync(at("list.json"), "[]");
        return ["round-check", at("cli.json"), "--updates", folder, "--reasons", at("list.json")];
      },
      2,
      /list\.json: expected an object, got a list/,
    ],
    [
      "reasons that do not exist",
      () => ["round-apply", at("cli.json"), "--updates", folder, "--reasons", at("none.json")],
      1,
      /none\.json: no such file/,
    ],
    [
      "clients without folders for pretrain",
      () => ["pretrain", at("cli.json")],
      2,
      /clients: north: expected 'path', a folder of images, got only a name/,
    ],
    [
      "a divided folder for rounds",
      () => {
        const divided = { ...config("divided"), clients: { path: "images", count: 4 } };
        writeFileSync(at("divided.json"), JSON.stringify(divided));
        return ["round-plan", at("divided.json"), "-o", at("x")];
      },
      2,
      /clients: expected a list of names/,
    ],
  ];
  for (const [what, args, expected, message] of refused) {
    it(`rejects ${what}`, async () => {
      const { code, stdout, stderr } = await epalm(["fedmae", ...args()]);
      assert.match(stderr, message);
      assert.deepEqual([code, stdout], [expected, ""], stderr);
    });
  }
});
