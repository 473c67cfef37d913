import { z } from "zod";
import { JsonLinesLog } from "../../core/files/json-lines-log.js";

const stepLine = z.object({
  kind: z.literal("step"),
  step: z.int(),
  steps: z.int(),
  epoch: z.int(),
  loss: z.number(),
  tokenLoss: z.number(),
  learningRate: z.number(),
  gradientNorm: z.number(),
  examples: z.int(),
  milliseconds: z.number(),
});

const epochLine = z.object({
  kind: z.literal("epoch"),
  step: z.int(),
  epoch: z.int(),
  scores: z.record(z.string(), z.number()),
});

const lineSchema = z.discriminatedUnion("kind", [stepLine, epochLine]);

/** A line of `log.jsonl`: an optimizer step, or the scores after an epoch. */
export type LogLine = z.infer<typeof lineSchema>;

/** The `log.jsonl` of a run, with one JSON object per line; each line is written at once. */
export class RunLog extends JsonLinesLog<typeof lineSchema> {
  /** Resumes after step `step`: drops the lines of later steps, which a killed run logged but did not save. */
  constructor(path: string, step: number) {
    super(path, lineSchema, (line) => line.step <= step);
  }
}
