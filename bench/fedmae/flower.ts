import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EpalmError } from "../../src/core/errors.js";
import type { RoundReport } from "../../src/fedmae.js";
import { FlowerNetwork, installFlower, type SuperNode } from "../../test/support/flower.js";
import { descendantsOf } from "../../test/support/running-processes.js";
import { readJsonLines } from "../../test/support/tiny-clients.js";
import type { Measurement } from "../measurement.js";
import { noisePictures } from "./cost.js";

/** ViT-S/16 at 224 pixels: a full-depth client of ViT-B needs 4 GB. */
const settings = {
  model: { imageSize: 224, patchSize: 16, width: 384, heads: 6, decoderWidth: 256, decoderHeads: 8 },
  depth: 12,
  rounds: 1,
  batchSize: 8,
  compare: false,
  roundAttempts: 100,
  retrySeconds: 1,
  clients: [{ name: "client" }],
};

const columns = [
  { key: "who", title: "" },
  { key: "weightsDown", title: "weights down, MB", digits: 1 },
  { key: "down", title: "network down, MB", digits: 1 },
  { key: "weightsUp", title: "weights up, MB", digits: 1 },
  { key: "up", title: "network up, MB", digits: 1 },
  { key: "epalm", title: "peak of epalm, MB", digits: 0 },
  { key: "node", title: "peak of the SuperNode, MB", digits: 0 },
  { key: "training", title: "training, s", digits: 1 },
  { key: "round", title: "round, s", digits: 1 },
];

export const fedMaeFlower: Measurement = {
  summary: "a federated client of one block beside one of full depth, over Flower with TLS (needs PyPI)",
  async run({ folder: kept, say }) {
    const flower = installFlower();
    if ("missing" in flower) throw new EpalmError("not_found", flower.missing);
    const pictures = await noisePictures(join(kept, "pictures"));
    const folder = mkdtempSync(join(tmpdir(), "epalm-bench-flower-"));
    chmodSync(folder, 0o755);
    const network = await FlowerNetwork.start(folder, flower.bin);
    try {
      const client = await network.startSuperNode("client", async (images) => {
        mkdirSync(images);
        for (const [index, path] of pictures.entries()) copyFileSync(path, join(images, `${index}.png`));
      });
      const measured = [];
      for (const [who, mode] of [
        ["parallel, repeat: one block", "repeat"],
        ["full: 12 blocks", "full"],
      ] as const) {
        say(`measuring: fedmae-flower, ${who}`);
        measured.push({ who, ...(await measureRun(network, client, mode)) });
      }
      const [one, full] = measured;
      const ratio = (key: keyof Cost) => Number(full?.[key]) / Number(one?.[key]);
      const keys = ["weightsDown", "down", "weightsUp", "up", "epalm", "node", "training", "round"] as const;
      const ratios = Object.fromEntries(keys.map((key) => [key, ratio(key)]));
      return [
        {
          title: `a client's round over Flower: ViT-S/16, ${pictures.length} images of 224 pixels, 1 thread`,
          columns,
          rows: [...measured, { who: "ratio", ...ratios }],
          notes: [
            "network: all bytes between SuperNode and SuperLink during the run, with TLS, heartbeats and the app",
            "peak of the SuperNode: the sum over its processes, epalm included; round: with the start of all processes",
          ],
        },
      ];
    } finally {
      network.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

interface Cost {
  readonly weightsDown: number;
  readonly down: number;
  readonly weightsUp: number;
  readonly up: number;
  readonly epalm: number;
  readonly node: number;
  readonly training: number;
  readonly round: number;
}

async function measureRun(network: FlowerNetwork, client: SuperNode, mode: "repeat" | "full"): Promise<Cost> {
  const before = { ...client.line.bytes };
  const started = performance.now();
  network.run({ ...settings, mode, output: mode });
  const output = join(network.folder, "server", mode);
  let node = 0;
  while (!existsSync(join(output, "mae", "model.safetensors"))) {
    node = Math.max(node, residentBytes(client.process.pid ?? 0));
    if (performance.now() - started > 600_000) throw new EpalmError("deadline_exceeded", network.logOf("server"));
    await delay(200);
  }
  const round = (performance.now() - started) / 1000;
  const [report] = readJsonLines<RoundReport>(join(output, "rounds.jsonl"));
  const [answer] = report?.clients ?? [];
  if (answer?.kind !== "answered") throw new EpalmError("internal", answer?.reason ?? "no client answered");
  const { up, down } = client.line.bytes;
  return {
    weightsDown: answer.bytesDown / 1e6,
    down: (down - before.down) / 1e6,
    weightsUp: answer.bytesUp / 1e6,
    up: (up - before.up) / 1e6,
    epalm: answer.peakBytes / 1e6,
    node: node / 1e6,
    training: answer.milliseconds / 1000,
    round,
  };
}

/** Resident memory of a process and its descendants; pages that they share are counted for each. */
function residentBytes(pid: number): number {
  return [pid, ...descendantsOf(pid)].reduce((sum, id) => {
    try {
      return sum + 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${id}/status`, "utf8"))?.[1] ?? 0);
    } catch {
      return sum;
    }
  }, 0);
}
