import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { z } from "zod";
import { writeAtomically } from "./atomic-write.js";

/** A file with one JSON object per line, appended as events occur. A resumed run continues it. */
export class JsonLinesLog<Schema extends z.ZodType> {
  readonly #path: string;
  readonly #lines: z.infer<Schema>[];

  /**
   * Lines that do not match the schema are dropped, because a killed process may have left an incomplete line.
   *
   * @param keep whether a line still applies; lines about work that a killed run lost do not
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
