import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, extname, isAbsolute, join, parse, relative, resolve } from "node:path";
import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import { parseJson } from "../../core/json.js";
import { KeySet } from "../../core/key-set.js";
import { note } from "../output/output.js";
import { isUrl } from "./remote/named-source.js";
import type { RunMedium } from "./run-medium.js";
import { answerObject, oneLine, type RunOutput, type RunResult, textLines } from "./run-output.js";
import type { OnExisting, SidecarForm } from "./sidecar-forms.js";

export interface SidecarOptions {
  readonly form: SidecarForm;
  /** Folder below which the sidecars have the paths of their media. Default: beside the media. */
  readonly folder: string | undefined;
  readonly onExisting: OnExisting;
  readonly scores: boolean;
}

const storedAnswer = z.looseObject({
  model: z.string().optional(),
  adapter: z.string().optional(),
  question: z.string().optional(),
  text: z.string().optional(),
  answers: z.array(z.looseObject({ text: z.string() })).optional(),
});

/** A file per medium with the answers about it: `photo.txt` or `photo.json` for `photo.jpg`. */
export class SidecarOutput implements RunOutput {
  readonly #options: SidecarOptions;
  readonly #begun = new KeySet();

  constructor(options: SidecarOptions) {
    this.#options = options;
  }

  begin(medium: RunMedium, question: string | undefined): boolean {
    const path = this.#pathOf(medium);
    if (this.#options.onExisting === "skip" && existsSync(path)) return false;
    if (this.#begun.add(JSON.stringify([path, question]))) return true;
    note(`${medium.file}: ${path} is the sidecar of another file`);
    return false;
  }

  /** Writes the file, unless a request failed: the next run then makes all of them again. */
  write(medium: RunMedium, results: readonly RunResult[]): void {
    if (results.some(({ error }) => error)) return;
    const path = this.#pathOf(medium);
    mkdirSync(dirname(path), { recursive: true });
    const existing = this.#options.onExisting === "append" && existsSync(path) ? readFileSync(path, "utf8") : undefined;
    writeAtomically(path, sidecarText(this.#options, medium, results, existing));
  }

  close(): void {}

  #pathOf({ file, source }: RunMedium): string {
    const { folder, form } = this.#options;
    const path = folder === undefined ? (source.kind === "path" ? source.path : undefined) : join(folder, below(file));
    if (path === undefined && source.kind !== "unreadable") {
      throw new EpalmError("invalid_option", `--sidecar: ${file} is not a file; expected --output with a folder`);
    }
    return `${withoutExtension(path ?? file)}.${form}`;
  }
}

/** The content of a sidecar. @param existing content to which answers are added that it does not contain yet */
export function sidecarText(
  { form, scores }: Pick<SidecarOptions, "form" | "scores">,
  medium: RunMedium,
  results: readonly RunResult[],
  existing?: string,
): string {
  if (form === "txt") {
    const lines = results.flatMap(({ question, ...result }) => {
      const prefix = results.length > 1 ? `${oneLine(question ?? "")}\t` : "";
      return result.error ? [] : textLines(result.reply, prefix, scores).map((line) => line.replace(/[\r\n]+/g, " "));
    });
    const known = existing?.split("\n").filter((line) => line !== "") ?? [];
    return [...known, ...lines.filter((line) => !known.includes(line))].map((line) => `${line}\n`).join("");
  }
  const known = existing === undefined ? [] : [parseJson(existing, medium.file, "invalid_data")].flat();
  const identities = known.map(identityOf);
  const answers = results
    .map((result) => answerObject(medium, result))
    .filter((answer) => !identities.includes(identityOf(answer)));
  const all = [...known, ...answers];
  return `${JSON.stringify(all.length === 1 ? all[0] : all)}\n`;
}

/** What makes two answers in a sidecar the same: the question and the best text. */
function identityOf(answer: unknown): string {
  const one = storedAnswer.safeParse(answer).data;
  return JSON.stringify([one?.model, one?.adapter, one?.question, one?.text ?? one?.answers?.[0]?.text]);
}

/**
 * The path of a medium below an output folder: relative to the working directory, or else from the root. That of an
 * object begins with its bucket, and that of a URL with its host.
 */
export function below(file: string): string {
  if (isUrl(file) && URL.canParse(file)) {
    const { host, pathname, search } = new URL(file);
    return host.replace(":", "_") + pathname + encodeURIComponent(search);
  }
  const whole = resolve(file.replace(/^s3:\/\//, ""));
  const path = relative(process.cwd(), whole);
  const isOutside = path.startsWith("..") || isAbsolute(path);
  return isOutside ? whole.slice(parse(whole).root.length) : path;
}

export function withoutExtension(path: string): string {
  return path.slice(0, path.length - extname(path).length);
}
