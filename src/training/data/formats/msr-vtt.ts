import { z } from "zod";
import { allIssues, parse, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { MAX_TEXTS, pathField, textField } from "../fields.js";
import { MediaFolder } from "./media-folder.js";
import { entriesOfSplits, type JsonFile } from "./splits.js";

const fileSchema = z.object({ videos: z.array(z.unknown()), sentences: z.array(z.unknown()) });
const videoSchema = z.object({ video_id: pathField });
const sentenceSchema = z.object({ video_id: pathField, caption: textField });

export interface MsrVttOptions {
  /** Folder of the videos, which are named by their ids, such as `video0.mp4`. */
  readonly folder: string;
  /** `train`, `validate` or `test`, as in the files. */
  readonly splits?: readonly string[] | undefined;
}

/**
 * Reads the captions of MSR-VTT (Xu et al. 2016): `train_val_videodatainfo.json` and `test_videodatainfo.json`. One
 * example per video, with all its captions.
 */
export async function* readMsrVtt(
  { path, json }: JsonFile,
  { folder, splits }: MsrVttOptions,
): AsyncGenerator<Finding> {
  const { videos, sentences } = parse(fileSchema, json, path, "invalid_data");
  const media = await MediaFolder.open(folder, "video");
  const captions = new Map<string, string[]>();
  for (const [index, sentence] of sentences.entries()) {
    const { data, error } = safeParse(sentenceSchema, sentence);
    if (error) {
      yield badExample(`${path}: sentences[${index}]`, allIssues(error));
      continue;
    }
    const known = captions.get(data.video_id);
    if (known) known.push(data.caption);
    else captions.set(data.video_id, [data.caption]);
  }
  for (const [index, video] of entriesOfSplits(videos, splits, path)) {
    const { data, error } = safeParse(videoSchema, video);
    if (error) {
      yield badExample(`${path}: videos[${index}]`, allIssues(error));
      continue;
    }
    const where = `${path}: ${data.video_id}`;
    const own = captions.get(data.video_id) ?? [];
    if (own.length === 0 || own.length > MAX_TEXTS) {
      yield badExample(where, `expected 1 to ${MAX_TEXTS} captions, got ${own.length}`);
    } else yield { kind: "caption", where, media: media.find([data.video_id]), captions: own };
  }
}
