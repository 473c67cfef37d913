/** What a measurement found: printed in columns, written as JSON as it is. */
export interface Table {
  readonly title: string;
  readonly columns: readonly Column[];
  /** Numbers in full; an absent key is an empty cell. */
  readonly rows: readonly Readonly<Record<string, number | string>>[];
  /** How it was measured, and what to keep in mind. */
  readonly notes?: readonly string[];
}

export interface Column {
  readonly key: string;
  readonly title: string;
  /** Digits behind the point of a printed number. Default 0. */
  readonly digits?: number;
}

/** A table as lines of text: words to the left, numbers to the right. */
export function formatTable({ title, columns, rows, notes = [] }: Table): string {
  const printed = columns.map((column) => {
    const cells = rows.map((row) => formatCell(row[column.key], column.digits ?? 0));
    const width = Math.max(column.title.length, ...cells.map((cell) => cell.length));
    const isText = rows.some((row) => typeof row[column.key] === "string");
    return [column.title, ...cells].map((cell) => (isText ? cell.padEnd(width) : cell.padStart(width)));
  });
  const lines = Array.from({ length: rows.length + 1 }, (_, line) =>
    `  ${printed.map((cells) => cells[line]).join("  ")}`.trimEnd(),
  );
  return [title, ...lines, ...notes.map((note) => `  ${note}`)].join("\n");
}

function formatCell(cell: number | string | undefined, digits: number): string {
  return typeof cell === "number" ? cell.toFixed(digits) : (cell ?? "");
}
