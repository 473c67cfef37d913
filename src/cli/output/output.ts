/**
 * Characters by which a string can control a terminal or show something other than what it contains: all control
 * characters except line feed and tab, separators of lines, and those that change the direction of text.
 */
const CONTROLS = /(?![\n\t])[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Writes control characters as `\u001b`. Everything that the program prints passes through this function, because
 * names in checkpoints, configs and folders come from others. In JSON, the result is the same value.
 */
export function escapeControls(text: string): string {
  return text.replace(CONTROLS, escaped);
}

/** The same, and also for line breaks and tabs: for a string that must remain a part of one line. */
function escapeLine(text: string): string {
  return escapeControls(text).replace(/[\n\t]/g, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Writes a line of results to standard output. */
export function print(line: string): void {
  printPart(`${line}\n`);
}

/** Writes part of a line of results to standard output. */
export function printPart(text: string): void {
  process.stdout.write(escapeControls(text));
}

/** Writes a line about the progress to standard error. */
export function note(line: string): void {
  process.stderr.write(`${escapeControls(line)}\n`);
}

/** Calls `close` when the reader of the output closes the pipe (`epalm … | head`), which is not an error. */
export function onClosedPipe(close: () => void): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      close();
    });
  }
}

/** Formats rows as lines with aligned columns. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map(escapeLine));
  // Not with spread arguments: a checkpoint has more tensors than a call may have arguments.
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return cells.map(line).join("\n");
}

/** Formats a count as `1,234,567`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

const byteUnits = ["bytes", "kB", "MB", "GB", "TB"] as const;

/** Formats bytes as `12.3 MB`; one kB is 1000 bytes. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), byteUnits.length - 1);
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${byteUnits[power]}`;
}

/** Formats a share from 0 to 1 as `0.0456 %`, with three significant digits. */
export function formatShare(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}
