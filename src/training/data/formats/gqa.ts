import { resolve } from "node:path";
import { z } from "zod";
import { allIssues, parse, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { pathField, questionField, textField } from "../fields.js";
import type { JsonFile } from "./splits.js";

const fileSchema = z.record(z.string(), z.unknown());
const questionSchema = z.object({ imageId: pathField, question: questionField, answer: textField });

/**
 * Reads a file of GQA questions (https://cs.stanford.edu/people/dorarad/gqa), such as
 * `train_balanced_questions.json`: an object with one question per id. The image of a question is `IMAGE_ID.jpg`. The
 * short answer is used and not `fullAnswer`; the metric is exact match.
 *
 * @param folder folder of the images
 */
export function* readGqa({ path, json }: JsonFile, folder: string): Generator<Finding> {
  for (const [id, entry] of Object.entries(parse(fileSchema, json, path, "invalid_data"))) {
    const where = `${path}: question ${id}`;
    const { data, error } = safeParse(questionSchema, entry);
    if (error) {
      yield badExample(where, allIssues(error));
      continue;
    }
    const { imageId, question, answer } = data;
    const media = { modality: "image", path: resolve(folder, `${imageId}.jpg`) } as const;
    yield { kind: "vqa", where, media, question, answers: [answer], metric: "exact-match" };
  }
}
