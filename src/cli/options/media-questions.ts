import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { EpalmError, fileNotFound, unexpected } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { type Modality, modalities } from "../../core/modality.js";
import { parse } from "../../core/schema.js";
import { pathField, questionField } from "../../training/data/fields.js";
import { readLines } from "../../training/data/read-lines.js";

/** One request to the model: a medium and, for `vqa`, a question. */
export interface MediaQuestion {
  /** The path as the user wrote it, which identifies the file in `--output`; `-` is standard input. */
  readonly file: string;
  /** Location of the file, if it is not at `file`. */
  readonly path?: string;
  readonly question?: string;
  /** The modality as which the file is interpreted. Default: determined by its content. */
  readonly modality?: Modality | undefined;
  /** Set if the questions of a command may differ. */
  readonly hasOwnQuestion?: true | undefined;
}

const questionLine = z.object({
  image: pathField.optional(),
  audio: pathField.optional(),
  video: pathField.optional(),
  question: questionField,
});

/**
 * Reads a file of questions with one object `{"image", "question"}` per line. `audio` or `video` in place of `image`
 * specifies how the medium is interpreted. Other keys, such as `id` and `answer`, are ignored, so that a data set can
 * serve as a file of questions. Paths are relative to the file. All lines are checked before the first question is
 * answered.
 *
 * @throws not_found
 * @throws invalid_data, with the file and the line
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
  throw new EpalmError("invalid_data", `--questions: ${file}: expected one question per line, got an empty file`);
}
