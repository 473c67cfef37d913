import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";

/**
 * Asks a service whether it is alive, as an orchestrator does, until it gets a message. It answers with how many
 * milliseconds each question took. A thread of its own, because the clients keep theirs busy.
 */

/** Milliseconds between two questions. */
const INTERVAL = 20;

const times: number[] = [];
let isOver = false;
parentPort?.once("message", () => {
  isOver = true;
});
while (!isOver) {
  const asked = performance.now();
  await (await fetch(`${workerData}/healthz`)).text();
  times.push(performance.now() - asked);
  await sleep(INTERVAL);
}
parentPort?.postMessage(times);
