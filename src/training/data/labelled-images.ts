import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import { parseJson } from "../../core/json.js";
import { parse } from "../../core/schema.js";
import { listLabelledImages } from "./list-images.js";
import { readLines } from "./read-lines.js";

/** The label of each attribute: `{label: "fruit"}`, or `{object: "apple", background: "blue"}`. */
export interface Labelled {
  readonly labels: Readonly<Record<string, string>>;
}

/** An image with its labels. */
export interface LabelledImage extends Labelled {
  readonly path: string;
  /** Labelled regions, if known; a later region covers earlier ones. */
  readonly regions?: readonly Region[] | undefined;
}

/** A rectangular part of an image with its label. */
export interface Region {
  readonly label: string;
  /** Fractions of the image's width and height. */
  readonly box: readonly [left: number, top: number, right: number, bottom: number];
}

/** Name of the attribute for labels that are names of folders. */
const FOLDER_ATTRIBUTE = "label";

const share = z.number().min(0).max(1);
const region = z
  .strictObject({ label: z.string(), box: z.tuple([share, share, share, share]) })
  .refine(({ box: [left, top, right, bottom] }) => left < right && top < bottom, {
    path: ["box"],
    error: "expected [left, top, right, bottom] with left < right and top < bottom",
  });
const line = z.strictObject({
  image: z.string(),
  labels: z.record(z.string().regex(/^[\w -]+$/), z.string()),
  regions: z.array(region).optional(),
});

/**
 * Reads labelled images from folders (one subfolder per label) and from files of JSON lines, with paths relative to the
 * file: `{"image": PATH, "labels": {ATTRIBUTE: LABEL}}`, optionally with
 * `"regions": [{"label": LABEL, "box": [LEFT, TOP, RIGHT, BOTTOM]}]`.
 *
 * @throws not_found; invalid_data, naming the file, the line and the cause
 *
 * @example
 * ```ts
 * import { readLabelledImages } from "epalm/fedmae";
 * const images = await readLabelledImages(["plants/train", "more.jsonl"]);
 * console.log(images[0]?.path, images[0]?.labels);
 * ```
 */
export async function readLabelledImages(sources: readonly string[]): Promise<LabelledImage[]> {
  const lists = await Promise.all(sources.map(readSource));
  return lists.flat();
}

async function readSource(source: string): Promise<LabelledImage[]> {
  const stats = statSync(source, { throwIfNoEntry: false });
  if (!stats) throw new EpalmError("not_found", `${source}: no such file or folder`);
  if (!stats.isDirectory()) return readLabelLines(source);
  const byLabel = await listLabelledImages(source);
  return Array.from(byLabel).flatMap(([label, paths]) =>
    paths.map((path) => ({ path, labels: { [FOLDER_ATTRIBUTE]: label } })),
  );
}

async function readLabelLines(file: string): Promise<LabelledImage[]> {
  const images: LabelledImage[] = [];
  for await (const read of readLines(file)) {
    const where = `${file}:${read.number}`;
    if (read.kind === "bad") throw new EpalmError("invalid_data", `${where}: ${read.cause}`);
    if (read.text.trim() !== "") images.push(parseLine(read.text, dirname(file), where));
  }
  return images;
}

function parseLine(text: string, folder: string, where: string): LabelledImage {
  const { image, ...known } = parse(line, parseJson(text, where, "invalid_data"), where, "invalid_data");
  return { path: resolve(folder, image), ...known };
}
