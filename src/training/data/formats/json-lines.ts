import { dirname, resolve } from "node:path";
import { z } from "zod";
import { messageOf } from "../../../core/errors.js";
import { modalities } from "../../../core/modality.js";
import { scanJson } from "../../../core/scan-json.js";
import { allIssues, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { answerField, MAX_TEXTS, pathField, questionField, textField } from "../fields.js";
import { readLines } from "../read-lines.js";

const one = textField.transform((text) => [text]);
const many = `expected a non-empty string, or a list of 1 to ${MAX_TEXTS} of them`;
const captions = z.union([one, z.array(textField).min(1).max(MAX_TEXTS)], { error: many });
const answers = z.union(
  [
    one,
    z
      .array(answerField)
      .min(1)
      .max(MAX_TEXTS)
      .refine((texts) => texts.some((text) => text !== "")),
  ],
  { error: many },
);

const lineSchema = z.strictObject({
  image: pathField.optional(),
  audio: pathField.optional(),
  video: pathField.optional(),
  caption: captions.optional(),
  question: questionField.optional(),
  answer: answers.optional(),
  group: textField.optional(),
  subject: textField.optional(),
});

type Fields = z.infer<typeof lineSchema>;

/**
 * Reads epalm's own format: one JSON object per line, with one of `image`, `audio` and `video` (a path, relative to the
 * file) and either `caption` or `question` and `answer`. Captions and answers are strings or lists of strings; in a
 * list, answers may be blank, as in VQA v2, but not all of them. A line can also name its `group`, and one with a
 * caption the `subject` of the medium. Empty lines are ignored; other keys are errors.
 */
export async function* readJsonLines(path: string): AsyncGenerator<Finding> {
  const folder = dirname(path);
  for await (const line of readLines(path)) {
    const where = `${path}:${line.number}`;
    if (line.kind === "bad") yield badExample(where, line.cause);
    else if (line.text.trim() !== "") yield parseLine(line.text, where, folder);
  }
}

function parseLine(text: string, where: string, folder: string): Finding {
  let json: unknown;
  try {
    scanJson(text, {});
    json = JSON.parse(text);
  } catch (error) {
    return badExample(where, `is not JSON: ${messageOf(error)}`);
  }
  const { data, error } = safeParse(lineSchema, json);
  return error ? badExample(where, allIssues(error)) : exampleOf(data, where, folder);
}

function exampleOf(fields: Fields, where: string, folder: string): Finding {
  const named = modalities.flatMap((modality) => {
    const path = fields[modality];
    return path === undefined ? [] : [{ modality, path: resolve(folder, path) }];
  });
  const [media] = named;
  if (media === undefined || named.length > 1) {
    return badExample(where, `expected one of 'image', 'audio', 'video', got ${named.length}`);
  }
  const { caption, question, answer, group, subject } = fields;
  const common = { where, media, ...(group === undefined ? {} : { group }) };
  if (caption && question === undefined && !answer) {
    return { kind: "caption", ...common, captions: caption, ...(subject === undefined ? {} : { subject }) };
  }
  if (subject !== undefined) return badExample(where, "'subject': expected only with 'caption'");
  if (!caption && question !== undefined && answer) {
    return { kind: "vqa", ...common, question, answers: answer };
  }
  const got = (["caption", "question", "answer"] as const).filter((key) => fields[key] !== undefined);
  return badExample(
    where,
    `expected 'caption', or 'question' and 'answer', got ${got.map((key) => `'${key}'`).join(", ") || "neither"}`,
  );
}
