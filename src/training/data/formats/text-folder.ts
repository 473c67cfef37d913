import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join, resolve, sep } from "node:path";
import { messageOf } from "../../../core/errors.js";
import { modalities } from "../../../core/modality.js";
import { allIssues, safeParse } from "../../../core/schema.js";
import { badExample, type Finding, type MediaReference } from "../example.js";
import { textField } from "../fields.js";
import { MAX_LINE_BYTES } from "../read-lines.js";
import { mediaExtensions } from "./media-extensions.js";

const modalityOf = new Map(
  modalities.flatMap((modality) => mediaExtensions[modality].map((extension) => [extension, modality] as const)),
);

/** Files with the same name, apart from the extension. */
interface Pair {
  readonly media: MediaReference[];
  readonly texts: string[];
}

/**
 * Reads a folder and the folders below it. Each medium, such as `name.png`, has a file `name.txt` in the same folder
 * with one caption per line. The extension determines the modality. Other files and hidden files are ignored.
 */
export async function* readTextFolder(folder: string): AsyncGenerator<Finding> {
  const names = (await readdir(folder, { recursive: true })).filter(isVisible).sort();
  const pairs = new Map<string, Pair>();
  for (const name of names) {
    const extension = extname(name).toLowerCase();
    const modality = modalityOf.get(extension);
    if (modality === undefined && extension !== ".txt") continue;
    const stem = name.slice(0, -extension.length);
    const pair = pairs.get(stem) ?? { media: [], texts: [] };
    pairs.set(stem, pair);
    if (modality === undefined) pair.texts.push(join(folder, name));
    else pair.media.push({ modality, path: resolve(folder, name) });
  }
  for (const [stem, pair] of pairs) yield await exampleOf(join(folder, stem), pair);
}

function isVisible(name: string): boolean {
  return !name.split(sep).some((part) => part.startsWith("."));
}

async function exampleOf(stem: string, { media: allMedia, texts }: Pair): Promise<Finding> {
  const [media, ...moreMedia] = allMedia;
  const [text, ...moreTexts] = texts;
  if (media === undefined)
    return badExample(text ?? stem, "expected a media file of the same name in the same folder, got none");
  if (text === undefined) return badExample(media.path, `expected ${basename(stem)}.txt in the same folder, got none`);
  if (moreMedia.length > 0 || moreTexts.length > 0) {
    const names = [...allMedia.map(({ path }) => path), ...texts].map((path) => basename(path));
    return badExample(text, `expected one media file and one .txt file of this name, got ${names.join(", ")}`);
  }
  try {
    return await captionsOf(text, media);
  } catch (error) {
    return badExample(text, `cannot be read: ${messageOf(error)}`);
  }
}

async function captionsOf(text: string, media: MediaReference): Promise<Finding> {
  const stats = await stat(text);
  if (!stats.isFile()) return badExample(text, "expected a regular file");
  if (stats.size > MAX_LINE_BYTES) {
    return badExample(text, `expected at most ${MAX_LINE_BYTES} bytes, got ${stats.size}`);
  }
  const content = new TextDecoder("utf-8", { fatal: true }).decode(await readFile(text));
  const captions: string[] = [];
  for (const [index, line] of content.split("\n").entries()) {
    if (line.trim() === "") continue;
    const { data, error } = safeParse(textField, line);
    if (error) return badExample(`${text}:${index + 1}`, allIssues(error));
    captions.push(data);
  }
  if (captions.length === 0) return badExample(text, "expected a caption, got an empty file");
  return { kind: "caption", where: text, media, captions };
}
