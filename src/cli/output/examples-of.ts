import { styleHeadings } from "./colours.js";

/** The examples at the end of a command's help. */
export function examplesOf(...lines: readonly string[]): string {
  return styleHeadings(["", "Examples:", ...lines.map((line) => `  ${line}`)].join("\n"));
}
