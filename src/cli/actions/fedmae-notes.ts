import type { RoundReport, RoundRetry } from "../../fedmae.js";
import { formatBytes, note } from "../output/output.js";

/** Prints a round, and which clients it left out. */
export function noteRound({ round, clients }: RoundReport): void {
  const answered = clients.flatMap((client) => (client.kind === "answered" ? [client] : []));
  for (const client of clients) {
    if (client.kind === "left out") note(`round ${round}: client ${client.name} is left out: ${client.reason}`);
  }
  const mean = (of: (client: (typeof answered)[number]) => number) =>
    answered.reduce((sum, client) => sum + of(client), 0) / answered.length;
  const peak = Math.max(...answered.map(({ peakBytes }) => peakBytes));
  note(
    [
      `round ${round}: loss ${mean(({ loss }) => loss).toFixed(4)}`,
      `patch-mean baseline ${mean(({ meanPatchLoss }) => meanPatchLoss).toFixed(4)}`,
      `${formatBytes(mean(({ bytesDown }) => bytesDown))} down, ${formatBytes(mean(({ bytesUp }) => bytesUp))} up per client`,
      `peak ${formatBytes(peak)}`,
    ].join(" · "),
  );
}

/** Prints why a round is repeated, and when. */
export function noteRetry({ round, attempts, updates, seconds, reason }: RoundRetry): void {
  const times = attempts === 1 ? "once" : `${attempts} times`;
  const what = updates === 0 ? "no client returned an update" : `only ${updates} clients returned an update`;
  note(`round ${round}: ${what} (${reason}); it ran ${times} and runs again in ${seconds} s`);
}
