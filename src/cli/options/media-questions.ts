import { existsSync } from "node:fs";
import { z } from "zod";
import { EpalmError, fileNotFound, unexpected } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { type Modality, modalities } from "../../core/modality.js";
import { parse } from "../../core/schema.js";
import { pathField, questionField } from "../../training/data/fields.js";
import { readLines } from "../../training/data/read-lines.js";
import { sourceBeside } from "../bulk/remote/named-source.js";
import type { RunSource } from "../bulk/run-medium.js";

/** A question about a medium, as a line of a file states it. */
export interface MediaQuestion {
  /** The path or URL as the user wrote it, which identifies the medium in outputs. */
  readonly file: string;
  readonly source: RunSource;
  readonly question: string;
  /** The modality as which the file is interpreted. */
  readonly modality: Modality;
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
 * serve as a file of questions. Paths are relative to the file.
 *
 * @throws not_found
 * @throws invalid_data, with the file and the line
 */
export async function* readQuestions(file: string): AsyncGenerator<MediaQuestion> {
  if (!existsSync(file)) throw fileNotFound(`--questions: ${file}`);
  let count = 0;
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
    count++;
    yield { ...medium, source: sourceBeside(file, medium.file), question };
  }
  if (count > 0) return;
  throw new EpalmError("invalid_data", `--questions: ${file}: expected one question per line, got an empty file`);
}
