import { note, print, printPart } from "../output/output.js";
import type { RunMedium } from "./run-medium.js";
import {
  answerObject,
  oneLine,
  type Reply,
  type RunOutput,
  type RunResult,
  type TextStreaming,
  textLines,
} from "./run-output.js";

/** Lines of JSON on standard output. */
export const printedJson: RunOutput = {
  begin: () => true,
  write(medium, results) {
    for (const result of results) print(JSON.stringify(answerObject(medium, result)));
  },
  close: () => undefined,
};

export interface TextOutputOptions {
  /** Each line begins with the path, or with the path and the question. */
  readonly prefix: "none" | "path" | "path and question";
  readonly scores: boolean;
  /** Prints texts while they are generated. */
  readonly streams: boolean;
}

/** Texts on standard output. */
export class TextOutput implements RunOutput {
  readonly #options: TextOutputOptions;
  /** Whether the prefix of the text that is being generated has been printed. */
  #hasBegun = false;

  constructor(options: TextOutputOptions) {
    this.#options = options;
  }

  begin(): boolean {
    return true;
  }

  get streaming(): TextStreaming | undefined {
    if (!this.#options.streams) return undefined;
    return {
      onText: (piece, medium, question) => {
        const prefix = this.#prefixOf(medium, question);
        printPart((this.#hasBegun ? "" : prefix) + (prefix === "" ? piece : oneLine(piece)));
        this.#hasBegun = true;
      },
      onEnd: (medium, question) => {
        print(this.#hasBegun ? "" : this.#prefixOf(medium, question));
        this.#hasBegun = false;
      },
    };
  }

  write(medium: RunMedium, results: readonly RunResult[]): void {
    for (const { question, ...result } of results) {
      if (result.error) continue;
      const lines = textLines(result.reply, this.#prefixOf(medium, question), this.#options.scores);
      if (!this.#options.streams) for (const line of lines) print(line);
      warnUnfamiliar(medium, result.reply);
    }
  }

  close(): void {}

  #prefixOf({ file }: RunMedium, question: string | undefined): string {
    switch (this.#options.prefix) {
      case "none":
        return "";
      case "path":
        return `${oneLine(file)}\t`;
      case "path and question":
        return `${oneLine(file)}\t${oneLine(question ?? "")}\t`;
    }
  }
}

/** A line on standard error if the adapter has not seen media like this one. */
function warnUnfamiliar({ file }: RunMedium, { whole }: Reply): void {
  const { adapter, familiarity = 0, unfamiliar } = whole;
  if (unfamiliar)
    note(`${file}: adapter '${adapter}' has not seen media like this one (familiarity ${familiarity.toFixed(4)})`);
}
