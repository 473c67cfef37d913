import { resolve } from "node:path";
import { z } from "zod";
import { allIssues, parse, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { MAX_TEXTS, pathField, textField } from "../fields.js";
import type { JsonFile } from "./splits.js";

const fileSchema = z.object({ images: z.array(z.unknown()), annotations: z.array(z.unknown()) });
const imageSchema = z.object({ id: z.int(), file_name: pathField });
const annotationSchema = z.object({ image_id: z.int(), caption: textField });

/**
 * Reads a file of COCO captions (https://cocodataset.org/#format-data): one example per image, with all its captions.
 * Keys that are not needed for captions are ignored.
 *
 * @param folder folder of the images
 */
export function* readCocoCaptions({ path, json }: JsonFile, folder: string): Generator<Finding> {
  const { images, annotations } = parse(fileSchema, json, path, "invalid_data");
  const captions = new Map<number, string[]>();
  for (const [index, json] of annotations.entries()) {
    const { data, error } = safeParse(annotationSchema, json);
    if (error) yield badExample(`${path}: annotations[${index}]`, allIssues(error));
    else captions.set(data.image_id, [...(captions.get(data.image_id) ?? []), data.caption]);
  }
  const seen = new Set<number>();
  for (const [index, json] of images.entries()) {
    const { data, error } = safeParse(imageSchema, json);
    if (error) {
      yield badExample(`${path}: images[${index}]`, allIssues(error));
      continue;
    }
    const { id, file_name } = data;
    const where = `${path}: image ${id}`;
    if (seen.has(id)) yield badExample(where, "duplicate image id");
    else yield exampleOf(where, resolve(folder, file_name), captions.get(id) ?? []);
    seen.add(id);
  }
  for (const id of captions.keys()) {
    if (!seen.has(id)) yield badExample(`${path}: image ${id}`, "has captions, but is not listed in 'images'");
  }
}

function exampleOf(where: string, path: string, captions: readonly string[]): Finding {
  if (captions.length === 0 || captions.length > MAX_TEXTS) {
    return badExample(where, `expected 1 to ${MAX_TEXTS} captions, got ${captions.length}`);
  }
  return { kind: "caption", where, media: { modality: "image", path }, captions };
}
