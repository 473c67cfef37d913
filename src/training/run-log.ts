import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { z } from "zod";

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

/** `log.jsonl` of a run: a JSON object per line, written as things happen. */
export class RunLog {
  readonly #path: string;
  readonly #lines: LogLine[];

  /** Goes on after step `step`: lines of later steps, which a killed run had lost, are left out. */
  constructor(path: string, step: number) {
    this.#path = path;
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    this.#lines = text
      .split("\n")
      .flatMap(parse)
      .filter((line) => line.step <= step);
    writeFileSync(`${path}.part`, this.#lines.map(format).join(""));
    renameSync(`${path}.part`, path);
  }

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  add(line: LogLine): void {
    this.#lines.push(line);
    appendFileSync(this.#path, format(line));
  }
}

function format(line: LogLine): string {
  return `${JSON.stringify(line)}\n`;
}

/** A run that was killed may have left half a line. */
function parse(text: string): LogLine[] {
  try {
    const { data } = lineSchema.safeParse(JSON.parse(text));
    return data ? [data] : [];
  } catch {
    return [];
  }
}
