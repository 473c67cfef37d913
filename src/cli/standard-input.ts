import { EpalmError } from "../core/errors.js";

/** Names standard input. */
export const STANDARD_INPUT = "-";

/** What comes from standard input; of more than `maxBytes`, enough to be refused as too large. */
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
