import { resolve } from "node:path";
import { z } from "zod";
import { allIssues, parse, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { MAX_TEXTS, pathField, textField } from "../fields.js";
import { entriesOfSplits, type JsonFile } from "./splits.js";

const fileSchema = z.object({ images: z.array(z.unknown()) });
const imageSchema = z.object({
  /** Folder of the image; the files of Flickr8k and Flickr30k do not contain it. */
  filepath: z.string().default(""),
  filename: pathField,
  sentences: z
    .array(z.object({ raw: textField }))
    .min(1)
    .max(MAX_TEXTS),
});

export interface KarpathyOptions {
  /** Folder of the images, with the subfolders train2014 and val2014 of COCO. */
  readonly folder: string;
  /** As published, `train` includes `restval`: the images of val2014 that are in neither `val` nor `test`. */
  readonly splits?: readonly string[] | undefined;
}

/**
 * Reads the splits of Karpathy and Fei-Fei (arXiv 1412.2306): `dataset_coco.json`, `dataset_flickr30k.json` and
 * `dataset_flickr8k.json`. One example per image, with all its captions.
 */
export function* readCocoKarpathy({ path, json }: JsonFile, { folder, splits }: KarpathyOptions): Generator<Finding> {
  const { images } = parse(fileSchema, json, path, "invalid_data");
  const hasRest = images.some((image) => imageSplit.safeParse(image).success);
  const wanted = splits?.flatMap((split) => (split === "train" && hasRest ? ["train", "restval"] : [split]));
  for (const [index, image] of entriesOfSplits(images, wanted, path)) {
    const where = `${path}: images[${index}]`;
    const { data, error } = safeParse(imageSchema, image);
    if (error) {
      yield badExample(where, allIssues(error));
      continue;
    }
    const { filepath, filename, sentences } = data;
    const media = { modality: "image", path: resolve(folder, filepath, filename) } as const;
    yield { kind: "caption", where, media, captions: sentences.map(({ raw }) => raw) };
  }
}

const imageSplit = z.object({ split: z.literal("restval") });
