import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

/** A folder that is gone after the suite it was made in. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "epalm-checkpoints-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
