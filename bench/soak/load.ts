import { setTimeout as pause } from "node:timers/promises";
import { pictures } from "../serve.js";
import type { Table } from "../table.js";
import { captionForm, quantile, send, Tally, watchingHealth } from "./client.js";
import type { SoakService } from "./service.js";

/** Time until a rejected client asks again; milliseconds. */
const RETRY = 250;

/** Captions of a few tokens, so that the service rather than the decoder is loaded. */
const fields = { beams: "1", max_tokens: "5" };

/** Answers per measurement, for a 99th percentile in reasonable time. */
const answersFor = (connections: number) => Math.max(100, 2 * connections);

/** Measures rates and latencies with the same image and with new ones, for each number of connections. */
export async function loads(
  service: SoakService,
  connections: readonly number[],
  say: (what: string) => void,
): Promise<{ readonly table: Table; readonly faults: readonly string[] }> {
  const rows: Table["rows"][number][] = [];
  const faults: string[] = [];
  for (const images of ["known", "new"]) {
    const picture = pictures(images === "known" ? 1 : Number.POSITIVE_INFINITY);
    for (const count of connections) {
      say(`load: ${images} images, ${count} connections`);
      const tally = new Tally();
      const health = new Tally();
      const prepared = await Promise.all(Array.from({ length: answersFor(count) }, picture));
      const started = performance.now();
      const healthz = await watchingHealth(service, health, () => answerAll(service, tally, prepared, count));
      const seconds = (performance.now() - started) / 1000;
      faults.push(...tally.faults, ...health.faults);
      rows.push({
        images,
        connections: count,
        perSecond: tally.latencies.length / seconds,
        p50: quantile(tally.latencies, 0.5),
        p99: quantile(tally.latencies, 0.99),
        rejected: tally.rejected,
        healthz,
      });
    }
  }
  const table: Table = {
    title: "load: captions of 5 tokens",
    columns: [
      { key: "images", title: "images" },
      { key: "connections", title: "connections" },
      { key: "perSecond", title: "captions/s", digits: 1 },
      { key: "p50", title: "p50, ms" },
      { key: "p99", title: "p99, ms" },
      { key: "rejected", title: "asked to retry" },
      { key: "healthz", title: "/healthz max, ms" },
    ],
    rows,
    notes: [`clients run on the same cores; a client that is asked to retry does so after ${RETRY} ms`],
  };
  return { table, faults };
}

async function answerAll(service: SoakService, tally: Tally, images: Uint8Array[], count: number): Promise<void> {
  const client = async () => {
    for (let image = images.pop(); image; image = images.pop()) {
      while (
        (await send(service, tally, { path: "/caption", init: captionForm(image, fields), role: "other" })) === 503
      )
        await pause(RETRY);
    }
  };
  await Promise.all(Array.from({ length: count }, client));
}
