import { z } from "zod";
import type { Modality } from "../../../core/modality.js";
import { allIssues, parse, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { MAX_TEXTS, pathField, questionField, textField } from "../fields.js";
import { MediaFolder } from "./media-folder.js";
import type { JsonFile } from "./splits.js";

const fileSchema = z.array(z.unknown());
const entrySchema = z.object({
  audio: pathField.optional(),
  video: pathField.optional(),
  img_id: pathField.optional(),
  caption: z.union([textField.transform((text) => [text]), z.array(textField).min(1).max(MAX_TEXTS)]).optional(),
  sent: questionField.optional(),
  question: questionField.optional(),
  /** Answers with their soft scores: 0.3 for one person, 0.6 for two, 0.9 for three, 1 for more (VL-T5). */
  label: z.record(z.string(), z.number().positive().max(1)).optional(),
});
type Entry = z.infer<typeof entrySchema>;

const keys = { audio: "audio", video: "video", image: "img_id" } as const satisfies Record<Modality, keyof Entry>;

/**
 * Reads the annotations that are published with eP-ALM (docs/datasets.md of mshukor/eP-ALM), such as
 * `audiocaps_caption_train.json`, `msrvtt_caption_train7k.json`, `msvd_vqa_train.json`, and VL-T5's
 * `karpathy_train.json` of VQA v2 and `train.json` of GQA: a list of `{audio, caption}`, `{video, caption}`, or
 * `{video, sent, label}` and `{img_id, sent, label}`. Media are found by their names in the folder and the folders
 * below it. With a single answer, the metric is exact match; otherwise, the number of people is derived from the soft
 * scores, and it is VQA accuracy.
 *
 * @param folder folder of the media
 */
export async function* readEpalmAnnotations({ path, json }: JsonFile, folder: string): AsyncGenerator<Finding> {
  const folders = new Map<Modality, MediaFolder>();
  for (const [index, entry] of parse(fileSchema, json, path, "invalid_data").entries()) {
    const where = `${path}: [${index}]`;
    const { data, error } = safeParse(entrySchema, entry);
    if (error) {
      yield badExample(where, allIssues(error));
      continue;
    }
    const named = (["audio", "video", "image"] as const).flatMap((modality) => {
      const name = data[keys[modality]];
      return name === undefined ? [] : [{ modality, name }];
    });
    const [medium] = named;
    if (medium === undefined || named.length > 1) {
      yield badExample(where, `expected one of 'audio', 'video', 'img_id', got ${named.length}`);
      continue;
    }
    const { modality, name } = medium;
    const media = folders.get(modality) ?? (await MediaFolder.open(folder, modality));
    folders.set(modality, media);
    yield exampleOf(data, where, media.find([withoutExtension(name), name]));
  }
}

function withoutExtension(name: string): string {
  return (name.split("/").at(-1) ?? name).replace(/\.[a-z0-9]{2,4}$/i, "");
}

function exampleOf(
  { caption, sent, question = sent, label }: Entry,
  where: string,
  media: ReturnType<MediaFolder["find"]>,
): Finding {
  if (caption) return { kind: "caption", where, media, captions: caption };
  if (question === undefined || label === undefined) {
    return badExample(where, "expected 'caption', or 'sent' and 'label'");
  }
  const answers = Object.entries(label).filter(([answer]) => answer.trim() !== "");
  const [only, ...others] = answers;
  if (only && others.length === 0) {
    return { kind: "vqa", where, media, question, answers: [only[0]], metric: "exact-match" };
  }
  // A question that no two people agreed on has no label; it counts in the score and has nothing to train on.
  const given = answers.flatMap(([answer, score]) => Array<string>(peopleOf(score)).fill(answer));
  return { kind: "vqa", where, media, question, answers: given.length > 0 ? given : [""] };
}

/** The number of people behind a soft score; the score 1 stands for four or more. */
function peopleOf(score: number): number {
  return score === 1 ? 4 : Math.max(1, Math.round(score / 0.3));
}
