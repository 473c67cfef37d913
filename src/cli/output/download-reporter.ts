import type { HubOptions } from "../../hub/resolve-folder.js";
import { escapeControls, formatBytes } from "./output.js";

type OnProgress = NonNullable<HubOptions["onProgress"]>;

/** Reports downloads of one model on standard error: as one updated line on a terminal, otherwise a line per file. */
export function downloadReporter(subject: string): OnProgress {
  return process.stderr.isTTY ? movingLine(subject) : linePerFile(subject);
}

function linePerFile(subject: string): OnProgress {
  let last: string | undefined;
  return ({ file, totalBytes }) => {
    if (file === last) return;
    last = file;
    process.stderr.write(escapeControls(`downloading ${subject}: ${file}, ${formatBytes(totalBytes)}\n`));
  };
}

function movingLine(subject: string): OnProgress {
  let last = "";
  return ({ file, receivedBytes, totalBytes }) => {
    const percent = Math.floor((receivedBytes / totalBytes) * 100);
    const line = escapeControls(`downloading ${subject}: ${file}, ${percent} % of ${formatBytes(totalBytes)}`);
    // Called for each of thousands of chunks; only changes are written.
    if (line !== last) process.stderr.write(`\r\x1b[K${line}${percent === 100 ? "\n" : ""}`);
    last = line;
  };
}
