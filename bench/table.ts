/** Results of a measurement, printed in columns or written unchanged as JSON. */
export interface Table {
  readonly title: string;
  readonly columns: readonly Column[];
  /** Unrounded numbers; an absent key is an empty cell. */
  readonly rows: readonly Readonly<Record<string, number | string>>[];
  /** How the results were measured, and what limits them. */
  readonly notes?: readonly string[];
}

export interface Column {
  readonly key: string;
  readonly title: string;
  /** Digits after the decimal point of printed numbers. Default: 0. */
  readonly digits?: number;
  /** Whether its numbers name the row, as strings always do. Default: false. */
  readonly isLabel?: boolean;
  /** Given for ratios of two measurements of one run, which `regress` compares: whether higher or lower is better. */
  readonly better?: "higher" | "lower";
}

/** Formats a table as lines of text, with strings left-aligned and numbers right-aligned. */
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
