/** Writes a line of results to standard output. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Writes a line about the progress to standard error. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
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
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
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
