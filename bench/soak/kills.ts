import { setTimeout as pause } from "node:timers/promises";
import { pictures } from "../serve.js";
import type { Table } from "../table.js";
import { captionForm, send, Tally } from "./client.js";
import { keys, type SoakService } from "./service.js";

const CLIENTS = 8;
/** How long the service is under load before it is ended; milliseconds. */
const LOADED = 500;

/** Ends the service under load, alternately with SIGKILL and SIGTERM, and compares its answers after each restart. */
export async function kills(
  service: SoakService,
  times: number,
  say: (what: string) => void,
): Promise<{ readonly table: Table; readonly faults: readonly string[] }> {
  const image = await pictures(1)();
  const faults: string[] = [];
  const expected = await captionOf(service, image);
  const restarts: number[] = [];
  for (let at = 0; at < times; at++) {
    const signal = at % 2 ? "SIGTERM" : "SIGKILL";
    say(`kills: ${signal}, ${at + 1} of ${times}`);
    const end = new AbortController();
    // Requests fail when the process ends.
    const ignored = new Tally();
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (!end.signal.aborted) {
        if ((await send(service, ignored, { path: "/caption", init: captionForm(image), role: "other" })) !== 200)
          await pause(50);
      }
    });
    await pause(LOADED);
    const ended = await service.stop(signal);
    end.abort();
    await Promise.all(clients);
    if (ended !== (signal === "SIGTERM" ? 0 : signal)) faults.push(`kills: ${signal} ended the service with ${ended}`);
    const started = performance.now();
    await service.start();
    restarts.push(performance.now() - started);
    const text = await captionOf(service, image);
    if (text !== expected) faults.push(`kills: after ${signal}, the answer is '${text}' instead of '${expected}'`);
  }
  const table: Table = {
    title: "kills: SIGKILL and SIGTERM under load",
    columns: [
      { key: "ended", title: "ended and restarted" },
      { key: "slowest", title: "slowest start, ms" },
      { key: "faults", title: "wrong exit codes or answers" },
    ],
    rows: [{ ended: times, slowest: Math.max(0, ...restarts), faults: faults.length }],
  };
  return { table, faults };
}

async function captionOf(service: SoakService, image: Uint8Array): Promise<string> {
  const headers = { authorization: `Bearer ${keys.bystander}` };
  const response = await fetch(`${service.address}/caption`, { ...captionForm(image), headers });
  return String(((await response.json()) as { text?: unknown }).text);
}
