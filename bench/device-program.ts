import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { device } from "./device.js";
import { describeMachine, machineTable } from "./machine.js";
import { formatTable } from "./table.js";

/** The program of the archive of `npm run bench -- device --pack`: prints tables and writes `device.json`. */

const folder = mkdtempSync(join(tmpdir(), "epalm-device-"));
try {
  const machine = await describeMachine();
  console.log(`${formatTable(machineTable(machine))}\n`);
  const tables = await device.run({ machine, folder, say: (what) => console.error(what) });
  for (const table of tables) console.log(formatTable(table));
  writeFileSync("device.json", `${JSON.stringify({ machine, results: { device: tables } }, undefined, 2)}\n`);
  console.error("device.json contains all numbers, unrounded");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
