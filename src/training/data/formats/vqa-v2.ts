import { resolve } from "node:path";
import { z } from "zod";
import { EpalmError } from "../../../core/errors.js";
import { allIssues, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { answerField, MAX_TEXTS, questionField } from "../fields.js";
import { readJson } from "../read-json.js";

/** Names of the COCO 2014 images, with a split such as `train2014`. */
const PUBLISHED_PATTERN = "COCO_{split}_{id:012d}.jpg";

/** More digits in `{id:0Nd}` than any id has are a mistake. */
const MAX_DIGITS = 20;

const questionsSchema = z.object({ questions: z.array(z.unknown()), data_subtype: z.string().optional() });
const annotationsSchema = z.object({ annotations: z.array(z.unknown()) });
const questionSchema = z.object({
  question_id: z.int(),
  image_id: z.int().min(0),
  question: questionField,
});
const annotationId = z.object({ question_id: z.int() });
const annotationSchema = z.object({
  answers: z
    .array(z.object({ answer: answerField }))
    .min(1)
    .max(MAX_TEXTS),
});

export interface VqaFiles {
  readonly questions: string;
  readonly annotations: string;
  /** Folder of the images. */
  readonly folder: string;
  /**
   * Pattern of the image names, with `{split}` (the `data_subtype` of the questions) and `{id}`, or `{id:012d}` for an
   * id padded with zeros. Default: `COCO_{split}_{id:012d}.jpg`.
   */
  readonly imagePattern?: string | undefined;
}

/**
 * Reads VQA v2 (https://visualqa.org): a file of questions, and a file of human answers, ten per question. Blank
 * answers are kept, because the accuracy is an average over all ten.
 */
export async function* readVqaV2(files: VqaFiles): AsyncGenerator<Finding> {
  const { questions, data_subtype: split } = await readJson(files.questions, questionsSchema);
  const imageName = imageNamer(files.imagePattern ?? PUBLISHED_PATTERN, split, files.questions);
  const { annotations } = await readJson(files.annotations, annotationsSchema);
  const byQuestion = new Map<number, unknown>();
  for (const [index, json] of annotations.entries()) {
    const { data, error } = safeParse(annotationId, json);
    const where = `${files.annotations}: annotations[${index}]`;
    if (error) yield badExample(where, allIssues(error));
    else if (byQuestion.has(data.question_id))
      yield badExample(where, `duplicate annotation of question ${data.question_id}`);
    else byQuestion.set(data.question_id, json);
  }
  const seen = new Set<number>();
  for (const [index, json] of questions.entries()) {
    const { data, error } = safeParse(questionSchema, json);
    if (error) {
      yield badExample(`${files.questions}: questions[${index}]`, allIssues(error));
      continue;
    }
    const where = `${files.questions}: question ${data.question_id}`;
    if (seen.has(data.question_id)) yield badExample(where, "duplicate question id");
    else {
      const path = resolve(files.folder, imageName(data.image_id));
      yield exampleOf(where, path, data.question, byQuestion.get(data.question_id));
    }
    seen.add(data.question_id);
  }
}

function exampleOf(where: string, path: string, question: string, annotation: unknown): Finding {
  if (annotation === undefined) return badExample(where, "has no annotation");
  const { data, error } = safeParse(annotationSchema, annotation);
  if (error) return badExample(where, `annotation: ${allIssues(error)}`);
  const answers = data.answers.map(({ answer }) => answer);
  return { kind: "vqa", where, media: { modality: "image", path }, question, answers };
}

function imageNamer(pattern: string, split: string | undefined, questions: string): (id: number) => string {
  const placeholder = /\{id(?::0(\d+)d)?\}/;
  const [, digits] = placeholder.exec(pattern) ?? [undefined, String(MAX_DIGITS + 1)];
  if (Number(digits ?? 0) > MAX_DIGITS) {
    throw new EpalmError("invalid_option", `imagePattern: expected '{id}' or '{id:012d}' in it, got '${pattern}'`);
  }
  if (pattern.includes("{split}") && split === undefined) {
    throw new EpalmError(
      "invalid_data",
      `${questions}: expected 'data_subtype', which '{split}' in imagePattern requires, got none`,
    );
  }
  const named = pattern.replaceAll("{split}", () => split ?? "");
  return (id) => named.replace(placeholder, String(id).padStart(Number(digits ?? 0), "0"));
}
