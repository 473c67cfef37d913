import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { EpalmError, fileNotFound, unexpected } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { type Modality, modalities } from "../../core/modality.js";
import { parse } from "../../core/schema.js";
import { pathField, questionField } from "../../training/data/fields.js";
import { readLines } from "../../training/data/read-lines.js";

/** One thing that a model is asked. */
export interface MediaQuestion {
  /** As the user named it, which is how it is found again; `-` is standard input. */
  readonly file: string;
  /** Where it is, if not at `file`. */
  readonly path?: string;
  readonly question?: string;
  /** What it is to be taken for; default: what its content says. */
  readonly modality?: Modality | undefined;
  /** Whether others are asked something else. */
  readonly hasOwnQuestion?: true;
}

const questionLine = z.strictObject({
  image: pathField.optional(),
  audio: pathField.optional(),
  video: pathField.optional(),
  question: questionField,
});

/**
 * The questions of a file, a line `{"image", "question"}` each, or `audio` or `video` instead, which is what the
 * medium is taken for; paths are relative to the file. All are read before the first is asked.
 *
 * @throws not_found; invalid_data, naming file and line
 */
export async function readQuestions(file: string): Promise<MediaQuestion[]> {
  if (!existsSync(file)) throw fileNotFound(`--questions: ${file}`);
  const questions: MediaQuestion[] = [];
  for await (const line of readLines(file)) {
    const where = `--questions: ${file}:${line.number}`;
    if (line.kind === "bad") throw new EpalmError("invalid_data", `${where}: ${line.cause}`);
    if (line.text.trim() === "") continue;
    const json = parseJson(line.text, where, "invalid_data");
    const { question, ...media } = parse(questionLine, json, where, "invalid_data");
    const [medium, ...others] = modalities.flatMap((modality) => {
      const named = media[modality];
      return named === undefined ? [] : [{ modality, file: named }];
    });
    if (!medium || others.length > 0) {
      const got = others.length + (medium ? 1 : 0);
      throw unexpected("invalid_data", where, "one of 'image', 'audio', 'video'", got);
    }
    const path = resolve(dirname(file), medium.file);
    questions.push({ ...medium, path, question, hasOwnQuestion: true });
  }
  if (questions.length > 0) return questions;
  throw new EpalmError("invalid_data", `--questions: ${file}: expected a question per line, got none`);
}
