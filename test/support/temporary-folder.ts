import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

/** Creates a folder that is deleted after the current suite. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "epalm-checkpoints-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
