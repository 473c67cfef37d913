import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { fedMaeConfigSchema } from "../../../src/fedmae/config.js";
import { pretrain } from "../../../src/fedmae/pretrain.js";
import type { RoundReport } from "../../../src/fedmae/round-log.js";
import { floats } from "../../../src/tensor/tensor.js";
import { FLOWER_APP, FlowerNetwork, installFlower, killed, type SuperNode } from "../../support/flower.js";
import { hasDescendant } from "../../support/running-processes.js";
import {
  drawStripes,
  inThisProcess,
  lineCount,
  readJsonLines,
  tensorsOf,
  tinySettings,
  until,
} from "../../support/tiny-clients.js";

const flower = installFlower();
const skip = "missing" in flower ? flower.missing : false;
const bin = "bin" in flower ? flower.bin : "";
const poisoning = fileURLToPath(new URL("../../support/poisoning-epalm.js", import.meta.url));

describe("the strategy of the Flower app", { skip }, () => {
  it("averages each block over its clients with Flower's strategies, and adds noise to it", () => {
    const script = join("test", "integration", "fedmae", "flower_strategy.py");
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
    const { status, stderr } = spawnSync(join(bin, "python"), [script, FLOWER_APP], { encoding: "utf8", env });
    assert.equal(status, 0, stderr);
  });
});

describe("FedMAE on Flower", { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), "epalm-flower-"));
  chmodSync(folder, 0o755);
  const names = ["north", "east", "south", "west"];
  const counts = [3, 2, 4, 2];
  const draw = (index: number) => (images: string) =>
    drawStripes(images, counts[index] ?? 1, index % 2 === 0 ? "across" : "down");
  const poison = join(folder, "poison");
  const at = (...parts: string[]) => join(folder, ...parts);
  const settings = {
    ...tinySettings,
    clients: names.map((name) => ({ name })),
    localEpochs: 1,
    retrySeconds: 2,
    roundAttempts: 20,
  };
  let network: FlowerNetwork;
  const nodes = new Map<string, SuperNode>();
  const node = (name: string) => {
    const found = nodes.get(name);
    assert.ok(found, name);
    return found;
  };
  const reports = (run: string) => readJsonLines<RoundReport>(at("server", run, "rounds.jsonl"));

  before(async () => {
    network = await FlowerNetwork.start(folder, bin);
    for (const [index, name] of names.entries()) {
      const env = name === "east" ? { EPALM: `${process.execPath} ${poisoning} ${poison}` } : {};
      nodes.set(name, await network.startSuperNode(name, draw(index), { env }));
    }
  });

  after(() => {
    network?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Waits for a file of a run; the log of the server explains why it does not appear. */
  async function arrived(what: string, isThere: () => boolean, seconds = 240): Promise<void> {
    await until(isThere, seconds).catch(() => assert.fail(`${what} did not arrive:\n${network.logOf("server")}`));
  }

  it("gives the weights of pretrain, although the SuperLink is killed after the first of three rounds", async () => {
    const run = { ...settings, rounds: 3, minClients: 4, output: "same" };
    const paths = names.map((name, index) => ({ name, path: at("local", name), draw: draw(index) }));
    for (const { path, draw } of paths) await draw(path);
    const clients = paths.map(({ name, path }) => ({ name, path }));
    const local = fedMaeConfigSchema.parse({ ...run, clients, output: at("local", "run") });
    const expected = await pretrain(local, { runClient: inThisProcess });
    network.run(run);
    await arrived("the first round", () => existsSync(at("server", "same", "checkpoint.safetensors")));
    await network.killSuperLink();
    const done = lineCount(at("server", "same", "rounds.jsonl"));
    assert.ok(done < 3, `${done} rounds were done when the SuperLink was killed`);
    await network.startSuperLink();
    // The keys are still registered and the SuperNodes connect again; the run has to be started again and resumes.
    network.run(run);
    const encoder = at("server", "same", "mae", "model.safetensors");
    await arrived("the encoder", () => existsSync(encoder));
    const wanted = tensorsOf(join(expected.encoder, "model.safetensors"));
    for (const [name, tensor] of tensorsOf(encoder)) {
      const other = floats(wanted.get(name));
      floats(tensor).forEach((value, index) => {
        assert.ok(Math.abs(value - Number(other[index])) <= 1e-6, `${name}[${index}]`);
      });
    }
    assert.deepEqual(reports("same").map(withoutCosts), expected.rounds.map(withoutCosts));
  });

  it("completes a run in which one client is killed, one is cut off and one sends NaN, and names them", async () => {
    const [north, west] = [node("north"), node("west")];
    writeFileSync(poison, "");
    const output = "failing";
    const run = { ...settings, output, clientMinutes: 0.5 };
    network.run(run, { "clipping-norm": 0.5, "noise-multiplier": 0.1 });
    const isTraining = ({ process: { pid } }: SuperNode) => hasDescendant(pid, "round-client");
    await Promise.all([
      arrived("the task of west", () => isTraining(west)).then(() => killed(west.process)),
      arrived("the task of north", () => isTraining(north)).then(() => north.line.cut()),
    ]);
    await arrived("the first round", () => lineCount(at("server", output, "rounds.jsonl")) >= 1);
    // The next round waits until all clients are connected, however slow this machine is.
    network.configure({ ...run, minClients: 4, clientMinutes: 10 });
    await north.line.mend();
    west.start();
    rmSync(poison);
    await arrived("the encoder", () => existsSync(at("server", output, "mae", "model.safetensors")));
    const [first, second] = reports(output).map(({ clients }) => {
      return Object.fromEntries(
        clients.map((client) => [client.name, "reason" in client ? client.reason : "answered"]),
      );
    });
    assert.equal(first?.south, "answered");
    for (const name of names) assert.equal(second?.[name], "answered");
    for (const name of ["north", "west"]) {
      assert.match(first?.[name] ?? "", /^did not answer within 0\.5 minutes$|Node Unavailable|^is not connected$/);
    }
    assert.match(first?.east ?? "", /^[\w.]+: contains NaN or Infinity$/);
    const page = readFileSync(at("server", output, "report.html"), "utf8");
    for (const name of ["north", "east", "west"]) assert.match(page, new RegExp(`round 1: ${name}`));
    assert.match(node("south").log(), /parameters are clipped by value: 0\.5/);
    for (const [name, { data }] of tensorsOf(at("server", output, "mae", "model.safetensors"))) {
      assert.ok(floats({ data }).every(Number.isFinite), name);
    }
  });

  it("refuses a SuperNode whose key is not registered", async () => {
    const stranger = await network.startSuperNode("stranger", draw(0), { isRegistered: false });
    const [code] = await once(stranger.process, "exit");
    assert.notEqual(code, 0);
    assert.match(stranger.log(), /Failed to activate SuperNode/i);
  });

  it("keeps each folder of images readable by the user of its SuperNode alone", (t) => {
    if (network.lacksUsers !== undefined) return t.skip(network.lacksUsers);
    const users = [network.serverUser, ...Array.from(nodes.values(), ({ user }) => user)];
    for (const { images, user } of nodes.values()) {
      assert.deepEqual(
        users.filter((other) => network.canRead(other, images)),
        [user],
      );
    }
  });

  it("does not tell the SuperLink the names of images and folders", () => {
    const found = spawnSync("grep", ["-rlaE", "\\.png|images of", at("server")], { encoding: "utf8" });
    assert.deepEqual([found.status, found.stdout], [1, ""]);
  });
});

/** A round without times and memory. */
function withoutCosts({ round, clients }: RoundReport) {
  return clients.map((client) => {
    return client.kind === "answered" ? [round, client.name, client.block, client.loss, client.examples] : client;
  });
}
