import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { type PretrainPlan, pretrain } from "../../src/fedmae/pretrain.js";
import type { RoundReport } from "../../src/fedmae/round-log.js";
import { readEncoderFolder } from "../../src/training/encoder/encoder-folder.js";
import { childrenOf } from "../support/running-processes.js";
import {
  drawStripedClients,
  drawStripes,
  inThisProcess,
  lossOf,
  readJsonLines,
  stripedClients,
  temporaryFolder,
  tensorsOf,
  tinyConfig,
  until,
} from "../support/tiny-clients.js";

const folder = temporaryFolder();
const at = (...names: string[]) => join(folder, ...names);
const clients = stripedClients(at("set"));
before(() => drawStripedClients(at("set")));

type Changes = Parameters<typeof tinyConfig>[0];

function config(name: string, changes: Changes = {}) {
  return tinyConfig({ clients, ...changes, output: at(name) });
}

describe("federated pre-training", () => {
  for (const [mode, rounds, blocks] of [
    ["parallel", 2, 2],
    ["repeat", 2, 1],
  ] as const) {
    it(`${mode}: lowers the loss and writes the blocks and their cascade`, async () => {
      const plans: PretrainPlan[] = [];
      const result = await pretrain(config(mode, { mode, rounds, localEpochs: 6 }), {
        onPlan: (plan) => plans.push(plan),
        // In the other mode, each client is a process.
        ...(mode === "repeat" ? { runClient: inThisProcess } : {}),
      });
      assert.deepEqual(plans, [
        {
          clients: [
            { name: "across", images: 6 },
            { name: "down", images: 4 },
          ],
          rounds,
          resumedFrom: 0,
        },
      ]);
      assert.ok(lossOf(result.rounds.at(-1)) < lossOf(result.rounds[0]) - 0.1);
      assert.equal(result.blocks.length, blocks);
      const encoder = await readEncoderFolder(result.encoder);
      assert.equal(encoder.config.num_hidden_layers, 2);
      for (const index of [0, 1]) {
        const block = await readEncoderFolder(result.blocks[mode === "repeat" ? 0 : index] ?? "");
        assert.equal(block.config.num_hidden_layers, 1);
        for (const [name, tensor] of block.tensors) {
          assert.deepEqual(
            encoder.tensors.get(
              name.replace("blocks.0.", `blocks.${index}.`).replace("decoder_blocks.1.", "decoder_blocks.0."),
            ),
            tensor,
            name,
          );
        }
      }
      assert.deepEqual(readJsonLines(at(mode, "rounds.jsonl")), result.rounds);
      assert.match(readFileSync(result.report, "utf8"), /across/);
    });
  }

  it("greedy: lowers the loss of each stage without changing the blocks below or the embedding", async () => {
    const settings = config("greedy", { mode: "greedy", rounds: 2, localEpochs: 10 });
    const controller = new AbortController();
    const onRound = ({ round }: RoundReport) => {
      if (round === 2) controller.abort();
    };
    const hooks = { signal: controller.signal, onRound, runClient: inThisProcess };
    await assert.rejects(pretrain(settings, hooks), { code: "aborted" });
    const saved = tensorsOf(at("greedy", "checkpoint.safetensors"));
    const { rounds, encoder, blocks } = await pretrain(settings, { runClient: inThisProcess });
    assert.equal(rounds.length, 4);
    assert.deepEqual(blocks, []);
    assert.ok(lossOf(rounds[1]) < lossOf(rounds[0]));
    assert.ok(lossOf(rounds[3]) < lossOf(rounds[1]));
    for (const [name, tensor] of tensorsOf(join(encoder, "model.safetensors"))) {
      const before = saved.get(`weight ${name}`);
      if (/^(blocks\.0\.|patch_embed\.|cls_token|.*pos_embed$)/.test(name)) assert.deepEqual(tensor, before, name);
      else if (/weight$|mask_token/.test(name)) assert.notDeepEqual(tensor, before, name);
    }
  });

  it("greedy: starts each block with random weights, or with those of the block below", async () => {
    for (const newBlocks of ["random", "copy"] as const) {
      // A rate that is too small to change a weight.
      const settings = { mode: "greedy", depth: 3, rounds: 1, newBlocks, optimizer: { learningRate: 1e-30 } } as const;
      const { encoder } = await pretrain(config(`blocks ${newBlocks}`, settings), { runClient: inThisProcess });
      const { tensors } = await readEncoderFolder(encoder);
      for (const block of [1, 2]) {
        const [own, below] = [block, block - 1].map((index) => tensors.get(`blocks.${index}.mlp.fc1.weight`));
        if (newBlocks === "copy") assert.deepEqual(own, below);
        else assert.notDeepEqual(own, below);
      }
    }
  });

  it("sends a client only its block, whatever the depth, and counts the bytes", async () => {
    const bytes = async (depth: number) => {
      const settings = {
        clients: { path: at("set"), count: 1, alpha: 1 },
        mode: "repeat",
        localEpochs: 1,
      } as const;
      const { rounds } = await pretrain(config(`depth-${depth}`, { ...settings, depth, rounds: 1 }));
      const [client] = rounds[0]?.clients ?? [];
      assert.equal(client?.kind, "answered");
      return client?.kind === "answered" ? client : undefined;
    };
    const [shallow, deep] = [await bytes(1), await bytes(4)];
    assert.equal(deep?.bytesDown, shallow?.bytesDown);
    assert.ok((deep?.bytesUp ?? 0) < (deep?.bytesDown ?? 0), "positions come back");
    assert.ok((deep?.peakBytes ?? 0) > 10e6);
    assert.equal(deep?.name, "client-1");
    assert.equal(deep?.examples, 10);
  });

  it("runs only the clients that take part in a round", async () => {
    await drawStripes(at("more", "across"), 8, "across");
    await drawStripes(at("more", "down"), 8, "down");
    const { rounds } = await pretrain(
      config("some", {
        clients: { path: at("more"), count: 4, alpha: 50 },
        mode: "repeat",
        participation: 0.5,
        localEpochs: 1,
      }),
      { runClient: inThisProcess },
    );
    assert.deepEqual(
      rounds.map((round) => round.clients.length),
      [2, 2],
    );
  });

  it("rejects more blocks than clients, and an output folder of a run with other settings", async () => {
    await assert.rejects(pretrain(config("deep", { depth: 3 })), {
      code: "invalid_option",
      message: /^depth: 3 blocks/,
    });
    const others = [
      [{ seed: 1 }, /another config \('seed' was 0 and is now 1\);/],
      [{ rounds: 5 }, /another config \('rounds' was 2 and is now 5\);/],
      [{ clients: clients.toReversed() }, /belongs to a run with other data;/],
    ] as const;
    for (const [changes, message] of others) {
      const other = config("parallel", { mode: "parallel", rounds: 2, localEpochs: 6, ...changes });
      await assert.rejects(pretrain(other), {
        code: "invalid_option",
        message,
      });
    }
  });
});

describe("pre-training whose images have moved", () => {
  it("resumes, unless an image has changed", async () => {
    cpSync(at("set"), at("moved"), { recursive: true });
    const moved = clients.map(({ name }) => ({ name, path: at("moved", name) }));
    const settings = { mode: "parallel" as const, rounds: 2, localEpochs: 6, clients: moved };
    const plans: PretrainPlan[] = [];
    await pretrain(config("parallel", settings), { onPlan: (plan) => plans.push(plan) });
    assert.deepEqual(
      plans.map(({ resumedFrom }) => resumedFrom),
      [2],
    );
    await drawStripes(at("moved", "down"), 4, "across");
    await assert.rejects(pretrain(config("parallel", settings)), { message: /belongs to a run with other data;/ });
  });
});

describe("the cost of a client", () => {
  it("is measured together with a client of full depth before the first round", async () => {
    const costs: number[] = [];
    await pretrain(config("compared", { compare: true, rounds: 1, localEpochs: 1 }), {
      onCost: (client, fullDepth) => {
        for (const key of ["parameters", "bytesDown", "bytesUp"] as const) {
          costs.push(fullDepth[key] / client[key]);
        }
        assert.ok(client.peakBytes > 0 && client.millisecondsPerImage > 0);
      },
    });
    assert.equal(costs.length, 3);
    for (const ratio of costs) assert.ok(ratio > 1);
  });
});

describe("a client that fails", () => {
  it("is left out of its round by name, and the round continues", async () => {
    mkdirSync(at("broken"));
    writeFileSync(at("broken", "bad.png"), "no picture");
    const [across, down] = clients;
    const given = [
      { name: "killed", path: down?.path ?? "" },
      { name: "fine", path: across?.path ?? "" },
      { name: "broken", path: at("broken") },
    ];
    const earlier = new Set(childrenOf(process.pid));
    const running = pretrain(
      config("failing", { clients: given, mode: "repeat", rounds: 1, localEpochs: 200, concurrency: 1 }),
    );
    const [child = 0] = await until(() => {
      const found = childrenOf(process.pid).filter((pid) => !earlier.has(pid));
      return found.length > 0 && found;
    });
    process.kill(child, "SIGKILL");
    const { rounds, report } = await running;
    const reports = Object.fromEntries((rounds[0]?.clients ?? []).map((client) => [client.name, client]));
    assert.equal(reports.fine?.kind, "answered");
    assert.deepEqual(reports.killed, {
      kind: "left out",
      name: "killed",
      reason: "its process ended with SIGKILL",
    });
    assert.ok(reports.broken?.kind === "left out");
    assert.match(reports.broken?.kind === "left out" ? reports.broken.reason : "", /bad\.png/);
    assert.match(readFileSync(report, "utf8"), /its process ended with SIGKILL/);
  });

  it("is stopped at its time limit; a round without updates ends the run and is logged", async () => {
    const slow = config("slow", { mode: "repeat", clientMinutes: 1e-5, localEpochs: 10_000, roundAttempts: 1 });
    await assert.rejects(pretrain(slow), {
      code: "internal",
      message: /round 1: no client returned an update in 1 attempt: across: took more/,
    });
    const [round] = readJsonLines<RoundReport>(at("slow", "rounds.jsonl"));
    assert.deepEqual(
      round?.clients.map(({ kind, name }) => [kind, name]),
      [
        ["left out", "across"],
        ["left out", "down"],
      ],
    );
  });
});
