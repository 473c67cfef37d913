import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { allIssues, parse, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { pathField, questionField, textField } from "../fields.js";
import { readLines } from "../read-lines.js";
import { MediaFolder } from "./media-folder.js";
import type { JsonFile } from "./splits.js";

const fileSchema = z.array(z.unknown());
const questionSchema = z.object({
  id: z.union([z.int(), z.string()]).optional(),
  video_id: z.union([z.int().min(0), pathField]),
  question: questionField,
  answer: textField,
});

/** Names the video of each number in MSVD-QA, in lines such as `-4wsuPCjDBc_5_15 vid1`. */
const MAPPING_FILE = "youtube_mapping.txt";

/**
 * Reads the questions about MSR-VTT and MSVD of Xu et al. 2017 (`train_qa.json`, `val_qa.json` and `test_qa.json`): a
 * list of `{question, answer, video_id}`. The video with number 7 is `video7` or `vid7` with any usual extension, or
 * the name that `youtube_mapping.txt` in the same folder gives for `vid7`. The metric is exact match.
 *
 * @param folder folder of the videos
 */
export async function* readVideoQuestions({ path, json }: JsonFile, folder: string): AsyncGenerator<Finding> {
  const entries = parse(fileSchema, json, path, "invalid_data");
  const media = await MediaFolder.open(folder, "video");
  const mapping = await readMapping(join(dirname(path), MAPPING_FILE));
  for (const [index, entry] of entries.entries()) {
    const { data, error } = safeParse(questionSchema, entry);
    if (error) {
      yield badExample(`${path}: [${index}]`, allIssues(error));
      continue;
    }
    const { id = index, video_id: video, question, answer } = data;
    const found = media.find(namesOf(video, mapping));
    const where = `${path}: question ${id}`;
    yield { kind: "vqa", where, media: found, question, answers: [answer], metric: "exact-match" };
  }
}

function namesOf(video: number | string, mapping: ReadonlyMap<string, string>): string[] {
  const number = /^(?:video|vid)?(\d+)$/.exec(String(video))?.[1];
  if (number === undefined) return [String(video)];
  const mapped = mapping.get(`vid${number}`);
  return [...(mapped === undefined ? [] : [mapped]), `video${number}`, `vid${number}`, number];
}

async function readMapping(path: string): Promise<ReadonlyMap<string, string>> {
  const mapping = new Map<string, string>();
  if (!existsSync(path)) return mapping;
  for await (const line of readLines(path)) {
    const [name, number] = line.kind === "text" ? line.text.trim().split(/\s+/) : [];
    if (name !== undefined && number !== undefined) mapping.set(number, name);
  }
  return mapping;
}
