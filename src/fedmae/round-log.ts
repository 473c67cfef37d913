import { z } from "zod";
import { JsonLinesLog } from "../core/files/json-lines-log.js";

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

const roundSchema = z.object({
  round: z.int(),
  clients: z.array(z.discriminatedUnion("kind", [answered, leftOut])),
});

/** Report of a client in a round. */
export type ClientReport = z.infer<typeof roundSchema>["clients"][number];

/** A line of `rounds.jsonl`; rounds are counted from 1 over all stages. */
export type RoundReport = z.infer<typeof roundSchema>;

/** The file `rounds.jsonl`, with one JSON object per round. */
export class RoundLog extends JsonLinesLog<typeof roundSchema> {
  /** Resumes after `done` rounds: drops later rounds, which a killed run logged but did not save. */
  constructor(path: string, done: number) {
    super(path, roundSchema, ({ round }) => round <= done);
  }
}
