import { EpalmError } from "../core/errors.js";

/** The file name that stands for standard input. */
export const STANDARD_INPUT = "-";

/**
 * Reads standard input to its end. Beyond `maxBytes` it stops, with enough bytes for the caller to report the size.
 *
 * @throws invalid_option if standard input is a terminal
 */
export async function readStandardInput(maxBytes: number): Promise<Uint8Array> {
  if (process.stdin.isTTY) {
    throw new EpalmError("invalid_option", "standard input: expected a file, got a terminal");
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > maxBytes) break;
  }
  return Buffer.concat(chunks);
}
