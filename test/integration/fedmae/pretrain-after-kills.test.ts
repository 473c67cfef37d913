import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { readFedMaeConfig } from "../../../src/fedmae/config.js";
import type { RoundRetry } from "../../../src/fedmae/federated-run.js";
import { type PretrainPlan, pretrain } from "../../../src/fedmae/pretrain.js";
import type { RoundReport } from "../../../src/fedmae/round-log.js";
import { childrenOf } from "../../support/running-processes.js";
import {
  drawStripedClients,
  inThisProcess,
  isAlive,
  lineCount,
  lossOf,
  readJsonLines,
  stripedClients,
  temporaryFolder,
  tinyConfig,
  tinySettings,
  until,
} from "../../support/tiny-clients.js";

const cli = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));
const folder = temporaryFolder();
const at = (...names: string[]) => join(folder, ...names);
const clients = stripedClients(at("set"));
before(() => drawStripedClients(at("set")));

function config(name: string, changes: Parameters<typeof tinyConfig>[0] = {}) {
  return tinyConfig({ clients, ...changes, output: at(name) });
}

function encoderBytes(name: string): Buffer {
  return readFileSync(at(name, "mae", "model.safetensors"));
}

/** Ends all clients as they start, until the returned function is called. */
function killClients(): () => void {
  const earlier = new Set(childrenOf(process.pid));
  const timer = setInterval(() => {
    for (const pid of childrenOf(process.pid)) {
      if (!earlier.has(pid) && isAlive(pid)) process.kill(pid, "SIGKILL");
    }
  }, 20);
  return () => clearInterval(timer);
}

describe("a round whose clients all die", () => {
  const settings = { mode: "repeat" as const, rounds: 2, localEpochs: 1, concurrency: 2 };

  it("is repeated, and gives the same encoder as a run whose clients did not die", async () => {
    await pretrain(config("undisturbed", settings));
    const retries: RoundRetry[] = [];
    const revive = killClients();
    const { rounds } = await pretrain(config("revived", { ...settings, retrySeconds: 0.5 }), {
      onRetry(retry) {
        retries.push(retry);
        if (retry.attempts === 2) revive();
      },
    });
    assert.deepEqual(
      retries.map(({ round, attempts, seconds }) => [round, attempts, seconds]),
      [
        [1, 1, 0.5],
        [1, 2, 1],
      ],
    );
    assert.equal(retries[0]?.reason, "across: its process ended with SIGKILL");
    assert.deepEqual(rounds.map(lossOf), readJsonLines<RoundReport>(at("undisturbed", "rounds.jsonl")).map(lossOf));
    assert.deepEqual(encoderBytes("revived"), encoderBytes("undisturbed"));
  });

  it("stops the run after some attempts with the reason and what to do; the run can be resumed", async () => {
    const revive = killClients();
    const dying = config("dying", { ...settings, roundAttempts: 2, retrySeconds: 0 });
    const message =
      "round 1: no client returned an update in 2 attempts: across: its process ended with SIGKILL; rounds.jsonl lists " +
      "all reasons. Remove the cause and start the same run again, which resumes with round 1";
    await assert.rejects(pretrain(dying), { code: "internal", message });
    revive();
    assert.equal(readJsonLines(at("dying", "rounds.jsonl")).length, 1);
    // Other limits do not make it another run.
    await pretrain(config("dying", { ...settings, roundAttempts: 5, retrySeconds: 1 }));
    assert.deepEqual(encoderBytes("dying"), encoderBytes("undisturbed"));
  });

  it("stops waiting when the run is cancelled", async () => {
    const revive = killClients();
    const abort = new AbortController();
    const waiting = pretrain(config("waiting", { ...settings, retrySeconds: 600 }), {
      signal: abort.signal,
      onRetry: () => setTimeout(() => abort.abort(), 50),
    });
    await assert.rejects(waiting, { code: "aborted", message: /start it again to resume/ });
    revive();
  });
});

describe("pre-training after a kill", () => {
  it("ends with the same encoder, bit for bit, as an uninterrupted run", async () => {
    const settings = {
      ...tinySettings,
      clients,
      mode: "parallel" as const,
      rounds: 4,
      localEpochs: 10,
      concurrency: 2,
    };
    await pretrain(config("unstopped", settings));
    const path = at("killed.json");
    writeFileSync(path, JSON.stringify({ ...settings, output: "killed" }));
    const log = at("killed", "rounds.jsonl");
    const moments: readonly (readonly [string, () => boolean])[] = [
      ["after a round", () => lineCount(log) >= 1],
      ["within a round", () => lineCount(log) >= 2],
    ];
    for (const [what, isReached] of moments) {
      const server = spawn(process.execPath, [cli, "fedmae", "pretrain", path], { stdio: "ignore" });
      const ended = once(server, "exit");
      await until(() => {
        if (server.exitCode !== null) return true;
        return isReached() && (what === "after a round" || childrenOf(server.pid).length > 0);
      });
      server.kill("SIGKILL");
      await ended;
      assert.equal(server.signalCode, "SIGKILL", what);
    }
    const plans: PretrainPlan[] = [];
    const { rounds } = await pretrain(readFedMaeConfig(path), { onPlan: (plan) => plans.push(plan) });
    assert.ok((plans[0]?.resumedFrom ?? 0) >= 1);
    assert.deepEqual(
      rounds.map(({ round }) => round),
      [1, 2, 3, 4],
    );
    assert.deepEqual(encoderBytes("killed"), encoderBytes("unstopped"));
    assert.deepEqual(rounds.map(lossOf), readJsonLines<RoundReport>(at("unstopped", "rounds.jsonl")).map(lossOf));
  });

  for (const [what, changes] of [
    // Its second round trains the second block.
    ["greedy", { mode: "greedy", rounds: 1 }],
    ["greedy with copied blocks", { mode: "greedy", rounds: 1, newBlocks: "copy" }],
    ["repeat", { mode: "repeat", rounds: 2 }],
    ["full", { mode: "full", rounds: 2 }],
  ] as const) {
    it(`ends with the same encoder in mode ${what}, if it is killed in its second round`, async () => {
      const output = `killed ${what}`;
      const settings = { ...tinySettings, clients, ...changes, localEpochs: 10 };
      await pretrain(config(`unstopped ${what}`, settings), { runClient: inThisProcess });
      const path = at(`${output}.json`);
      writeFileSync(path, JSON.stringify({ ...settings, output }));
      const server = spawn(process.execPath, [cli, "fedmae", "pretrain", path], { stdio: "ignore" });
      const ended = once(server, "exit");
      const isInSecondRound = () =>
        existsSync(at(output, "checkpoint.safetensors")) && childrenOf(server.pid).length > 0;
      await until(() => server.exitCode !== null || isInSecondRound(), 120);
      server.kill("SIGKILL");
      await ended;
      const plans: PretrainPlan[] = [];
      const resumed = readFedMaeConfig(path);
      await pretrain(resumed, { onPlan: (plan) => plans.push(plan), runClient: inThisProcess });
      assert.deepEqual(
        plans.map(({ rounds, resumedFrom }) => [rounds, resumedFrom]),
        [[2, 1]],
      );
      assert.deepEqual(encoderBytes(output), encoderBytes(`unstopped ${what}`));
    });
  }

  it("leaves no client process running when the server is killed", async () => {
    const endless = { ...tinySettings, clients, rounds: 1, localEpochs: 1_000_000, output: "endless" };
    writeFileSync(at("endless.json"), JSON.stringify(endless));
    const server = spawn(process.execPath, [cli, "fedmae", "pretrain", at("endless.json")], {
      stdio: "ignore",
    });
    const ended = once(server, "exit");
    const orphans = await until(() => {
      const found = childrenOf(server.pid);
      return found.length > 0 && found;
    });
    // A client that has not received a task yet exits by itself.
    await delay(4000);
    assert.ok(orphans.every(isAlive), "a client ended before its server");
    server.kill("SIGKILL");
    await ended;
    try {
      await until(() => !orphans.some(isAlive), 15);
    } finally {
      for (const pid of orphans.filter(isAlive)) process.kill(pid, "SIGKILL");
    }
  });
});
