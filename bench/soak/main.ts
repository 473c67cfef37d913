import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { EpalmError, messageOf, unexpected } from "../../src/core/errors.js";
import { formatTable, type Table } from "../table.js";
import { bystander } from "./bystander.js";
import { kills } from "./kills.js";
import { loads } from "./load.js";
import { mixed } from "./mixed.js";
import { SoakService } from "./service.js";

const help = `usage: npm run soak -- [PHASE ...] [options]

Loads a service, prints what it measured, and fails if a bound is exceeded: a status of 500 or above that does not ask
the client to try again, an error above 64 kB, a slow bystander, or too much memory.

  load       rates and latencies with known and new images, and the longest response of /healthz
  mixed      requests with errors, aborted requests and dropped streams, and the memory of the service
  bystander  latency of a client alongside the most expensive permitted requests of others
  kills      SIGKILL and SIGTERM under load, and the answers after a restart

Without a PHASE, all of them run.

  --model FOLDER        model folder (default: the bundled model)
  --connections N,N,…   for load (default: 1,8,64,256,512)
  --requests N          for mixed (default: 30000)
  --kills N             for kills (default: 20)
  --json FILE           also writes all numbers unrounded`;

const phases = ["load", "mixed", "bystander", "kills"] as const;
type Phase = (typeof phases)[number];

const bundled = fileURLToPath(new URL("../../../models/default", import.meta.url));

function wholeNumber(flag: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw unexpected("invalid_option", `--${flag}`, "a whole number above 0", `'${text}'`);
}

function phasesIn(names: readonly string[]): readonly Phase[] {
  const unknown = names.find((name) => !phases.some((phase) => phase === name));
  if (unknown !== undefined) throw unexpected("invalid_option", "PHASE", phases.join(", "), `'${unknown}'`);
  return names.length === 0 ? phases : phases.filter((phase) => names.includes(phase));
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      help: { type: "boolean", short: "h" },
      model: { type: "string", default: bundled },
      connections: { type: "string", default: "1,8,64,256,512" },
      requests: { type: "string", default: "30000" },
      kills: { type: "string", default: "20" },
      json: { type: "string" },
    },
  });
  if (values.help) {
    console.log(help);
    return;
  }
  const selected = phasesIn(positionals);
  const connections = values.connections.split(",").map((text) => wholeNumber("connections", text));
  const [requests, times] = [wholeNumber("requests", values.requests), wholeNumber("kills", values.kills)];
  const samples = {
    audio: join(bundled, "samples", "siren-then-a-falling-whistle.wav"),
    video: join(bundled, "samples", "postbox-moves-quickly-to-the-left.mp4"),
  };
  const folder = mkdtempSync(join(tmpdir(), "epalm-soak-"));
  const service = new SoakService(folder, { models: { model: resolve(values.model) } });
  const say = (what: string) => console.error(what);
  const run = {
    load: () => loads(service, connections, say),
    mixed: () => mixed(service, requests, say),
    bystander: () => bystander(service, samples, say),
    kills: () => kills(service, times, say),
  } satisfies Record<Phase, () => Promise<{ table: Table; faults: readonly string[] }>>;
  const tables: Table[] = [];
  const faults: string[] = [];
  try {
    await service.start();
    for (const phase of selected) {
      const result = await run[phase]();
      console.log(`${formatTable(result.table)}\n`);
      tables.push(result.table);
      faults.push(...result.faults);
      if (!service.isRunning) throw new EpalmError("internal", `${phase}: the service ended`);
    }
  } finally {
    await service.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(`${availableParallelism()} cores, node ${process.version}; bounds exceeded: ${faults.length}`);
  const distinct = new Map<string, number>();
  for (const fault of faults) distinct.set(fault, (distinct.get(fault) ?? 0) + 1);
  for (const [fault, count] of distinct) console.log(`  ${count} × ${fault}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ tables, faults }, undefined, 2)}\n`);
  if (faults.length > 0) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  console.error(`soak: ${messageOf(error)}`);
  process.exitCode = 1;
}
