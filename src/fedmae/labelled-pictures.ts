import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { EpalmError } from "../errors.js";
import { readLines } from "../training/data/read-lines.js";
import { listLabelledPictures } from "./list-pictures.js";

/** A picture, and what it shows, by aspect: `{label: "fruit"}`, or `{object: "apple", background: "blue"}`. */
export interface LabelledPicture {
  readonly path: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What is where, if that is known; a later region covers those before it. */
  readonly regions?: readonly Region[] | undefined;
}

/** A part of a picture, and what it shows. */
export interface Region {
  readonly label: string;
  /** Shares of the picture's width and height. */
  readonly box: readonly [left: number, top: number, right: number, bottom: number];
}

/** What folders label. */
const FOLDER_ASPECT = "label";

const share = z.number().min(0).max(1);
const region = z
  .strictObject({ label: z.string(), box: z.tuple([share, share, share, share]) })
  .refine(({ box: [left, top, right, bottom] }) => left < right && top < bottom, {
    error: "'box': expected [left, top, right, bottom], each side before the other",
  });
const line = z.strictObject({
  image: z.string(),
  labels: z.record(z.string().regex(/^[\w -]+$/), z.string()),
  regions: z.array(region).optional(),
});

/**
 * Labelled pictures of folders (one sub-folder per label) and of JSON lines (`{"image": PATH, "labels": {ASPECT: LABEL}}`,
 * paths relative to the file;
 * `"regions": [{"label": LABEL, "box": [LEFT, TOP, RIGHT, BOTTOM]}]` may be beside them).
 *
 * @throws not_found, invalid_data with file, line and cause
 */
export async function readLabelledPictures(sources: readonly string[]): Promise<LabelledPicture[]> {
  const lists = await Promise.all(sources.map(readSource));
  return lists.flat();
}

async function readSource(source: string): Promise<LabelledPicture[]> {
  const stats = statSync(source, { throwIfNoEntry: false });
  if (!stats) throw new EpalmError("not_found", `${source}: no such file or folder`);
  if (!stats.isDirectory()) return readLabelLines(source);
  const byLabel = await listLabelledPictures(source);
  return Array.from(byLabel).flatMap(([label, paths]) =>
    paths.map((path) => ({ path, labels: { [FOLDER_ASPECT]: label } })),
  );
}

async function readLabelLines(file: string): Promise<LabelledPicture[]> {
  const pictures: LabelledPicture[] = [];
  for await (const read of readLines(file)) {
    const where = `${file}:${read.number}`;
    if (read.kind === "bad") throw new EpalmError("invalid_data", `${where}: ${read.cause}`);
    if (read.text.trim() !== "") pictures.push(parseLine(read.text, dirname(file), where));
  }
  return pictures;
}

function parseLine(text: string, folder: string, where: string): LabelledPicture {
  try {
    const { image, ...known } = line.parse(JSON.parse(text));
    return { path: resolve(folder, image), ...known };
  } catch (error) {
    const cause = error instanceof z.ZodError ? error.issues[0]?.message : "is no JSON";
    throw new EpalmError("invalid_data", `${where}: ${cause}`);
  }
}

/** The labels of each aspect, sorted; their places are what a classifier counts by. */
export type Classes = ReadonlyMap<string, readonly string[]>;

export function classesOf(pictures: readonly LabelledPicture[]): Classes {
  const found = new Map<string, Set<string>>();
  for (const { labels } of pictures) {
    for (const [aspect, label] of Object.entries(labels)) {
      const known = found.get(aspect);
      if (known) known.add(label);
      else found.set(aspect, new Set([label]));
    }
  }
  return new Map(Array.from(found, ([aspect, labels]) => [aspect, Array.from(labels).sort()]));
}

/**
 * How many pictures that have the aspect have their own label as the one of the largest logit.
 *
 * @param logits [N, labels], a row per picture
 */
export function countRight(
  logits: Float32Array,
  labels: readonly string[],
  pictures: readonly LabelledPicture[],
  aspect: string,
): { readonly right: number; readonly all: number } {
  let [right, all] = [0, 0];
  pictures.forEach(({ labels: own }, row) => {
    if (own[aspect] === undefined) return;
    const scores = logits.subarray(row * labels.length, (row + 1) * labels.length);
    all++;
    if (labels[scores.indexOf(Math.max(...scores))] === own[aspect]) right++;
  });
  return { right, all };
}

/**
 * What training pictures teach, as long as a test asks for nothing else.
 *
 * @throws invalid_data where there is nothing to tell apart, or a test has an aspect of its own
 */
export function taughtClasses(
  training: readonly LabelledPicture[],
  test: readonly LabelledPicture[],
): Classes {
  const classes = classesOf(training);
  if (classes.size === 0) throw new EpalmError("invalid_data", "training pictures: expected some, got none");
  for (const [aspect, labels] of classes) {
    if (labels.length >= 2) continue;
    throw new EpalmError(
      "invalid_data",
      `training pictures: expected two labels of '${aspect}' at least, got ${labels.length}`,
    );
  }
  for (const aspect of classesOf(test).keys()) {
    if (!classes.has(aspect)) {
      throw new EpalmError("invalid_data", `test pictures: '${aspect}' is no aspect of training pictures`);
    }
  }
  return classes;
}
