import { parse } from "csv-parse/sync";
import { EpalmError, messageOf } from "../../core/errors.js";
import { modalities } from "../../core/modality.js";
import type { RecordFormat } from "./record-file.js";
import type { RunMedium } from "./run-medium.js";
import { confidenceOf, needsReview, type RunResult } from "./run-output.js";

const columns = [
  "file",
  "modality",
  "question",
  "text",
  "score",
  "confidence",
  "review",
  "texts",
  "error",
  "model",
] as const;
type Cells = Readonly<Record<(typeof columns)[number], string>>;

/**
 * A CSV file (RFC 4180), or one with tabs for commas, with a header and one row per request. The columns of the first
 * medium's row or sample follow epalm's own.
 */
export class CsvRecords implements RecordFormat {
  readonly #delimiter: string;
  /** Undefined until the header has been read or written. */
  #header: readonly string[] | undefined;

  constructor(delimiter: string) {
    this.#delimiter = delimiter;
  }

  /** A quoted cell may contain line breaks. */
  isWhole(text: string): boolean {
    return (text.split('"').length - 1) % 2 === 0;
  }

  /** The last cell may be cut off. */
  isComplete(): boolean {
    return false;
  }

  isBeginning(text: string): boolean {
    const header = columns.join(this.#delimiter);
    return this.#header !== undefined || header.startsWith(text.slice(0, header.length));
  }

  parse(text: string, where: string): ReturnType<RecordFormat["parse"]> {
    const cells = cellsOf(text, this.#delimiter, where);
    if (!this.#header || cells.join() === this.#header.join()) {
      if (columns.some((name, at) => cells[at] !== name)) {
        throw new EpalmError("invalid_option", `${where}: expected a header that begins with ${columns.join()}`);
      }
      this.#header = cells;
      return undefined;
    }
    const [file = "", modality, question, , , , , , error, model] = cells;
    return {
      file,
      modality: modalities.find((one) => one === modality),
      question: question || undefined,
      model: model || undefined,
      isFailed: error !== "",
    };
  }

  format(medium: RunMedium, results: readonly RunResult[], isFirst: boolean): string {
    this.#header ??= [...columns, ...Object.keys(medium.input ?? {}).filter((name) => !isColumn(name))];
    const rows = results.map((result) => {
      const cells: Record<string, unknown> = { ...medium.input, ...cellsOfResult(medium, result) };
      return this.#header?.map((name) => cells[name]) ?? [];
    });
    return [...(isFirst ? [this.#header] : []), ...rows]
      .map((row) => `${row.map(cellText).join(this.#delimiter)}\n`)
      .join("");
  }
}

function isColumn(name: string): boolean {
  return columns.some((one) => one === name);
}

function cellsOf(text: string, delimiter: string, where: string): string[] {
  try {
    return (parse(text, { delimiter }) as string[][])[0] ?? [];
  } catch (error) {
    throw new EpalmError("invalid_option", `${where}: expected a row of CSV: ${messageOf(error)}`);
  }
}

function cellsOfResult({ file, modality }: RunMedium, { question = "", ...result }: RunResult): Cells {
  const none = { file, question, modality: modality ?? "", text: "", score: "", confidence: "", review: "", texts: "" };
  if (result.error) return { ...none, error: result.error.message, model: "" };
  const { texts, whole } = result.reply;
  return {
    ...none,
    modality: whole.modality,
    text: texts[0]?.text ?? "",
    score: String(texts[0]?.score ?? ""),
    confidence: String(confidenceOf(result.reply) ?? ""),
    review: needsReview(result.reply) ? "true" : "",
    texts: texts.length > 1 ? JSON.stringify(texts.map(({ text, score }) => ({ text, score }))) : "",
    error: "",
    model: whole.model,
  };
}

/** A value as a cell; objects become JSON. */
function cellText(value: unknown): string {
  const text = typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
  return /[",\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
