import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { z } from "zod";
import { writeAtomically } from "./atomic-write.js";

/** A file with a JSON object per line, written as things happen, which a resumed run goes on with. */
export class JsonLinesLog<Schema extends z.ZodType> {
  readonly #path: string;
  readonly #lines: z.infer<Schema>[];

  /**
   * Lines of another form are left out: a run that was killed may have left half a line.
   *
   * @param keep tells lines that still hold from those of work that a killed run had lost
   */
  constructor(path: string, schema: Schema, keep: (line: z.infer<Schema>) => boolean) {
    this.#path = path;
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    this.#lines = text
      .split("\n")
      .flatMap((line) => parse(line, schema))
      .filter(keep);
    writeAtomically(path, this.#lines.map(format).join(""));
  }

  get lines(): readonly z.infer<Schema>[] {
    return this.#lines;
  }

  add(line: z.infer<Schema>): void {
    this.#lines.push(line);
    appendFileSync(this.#path, format(line));
  }
}

function format(line: unknown): string {
  return `${JSON.stringify(line)}\n`;
}

function parse<Schema extends z.ZodType>(text: string, schema: Schema): z.infer<Schema>[] {
  try {
    const result = schema.safeParse(JSON.parse(text));
    return result.success ? [result.data] : [];
  } catch {
    return [];
  }
}
