import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { z } from "zod";

const answered = z.object({
  kind: z.literal("answered"),
  name: z.string(),
  block: z.int(),
  examples: z.int(),
  loss: z.number(),
  meanPatchLoss: z.number(),
  milliseconds: z.number(),
  peakBytes: z.number(),
  bytesDown: z.number(),
  bytesUp: z.number(),
});

const leftOut = z.object({ kind: z.literal("left out"), name: z.string(), reason: z.string() });

const line = z.object({
  round: z.int(),
  clients: z.array(z.discriminatedUnion("kind", [answered, leftOut])),
});

/** What a client did in a round. */
export type ClientReport = z.infer<typeof line>["clients"][number];

/** A line of `rounds.jsonl`; rounds count from 1, over all stages. */
export type RoundReport = z.infer<typeof line>;

/** `rounds.jsonl`: a JSON object per round. */
export class RoundLog {
  readonly #path: string;
  readonly #rounds: RoundReport[];

  /** Goes on after `done` rounds: what a killed run wrote of a later one is left out. */
  constructor(path: string, done: number) {
    this.#path = path;
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    this.#rounds = text
      .split("\n")
      .flatMap(parse)
      .filter(({ round }) => round <= done);
    writeFileSync(`${path}.part`, this.#rounds.map(format).join(""));
    renameSync(`${path}.part`, path);
  }

  get rounds(): readonly RoundReport[] {
    return this.#rounds;
  }

  add(report: RoundReport): void {
    this.#rounds.push(report);
    appendFileSync(this.#path, format(report));
  }
}

function format(report: RoundReport): string {
  return `${JSON.stringify(report)}\n`;
}

function parse(text: string): RoundReport[] {
  try {
    const { data } = line.safeParse(JSON.parse(text));
    return data ? [data] : [];
  } catch {
    return [];
  }
}
