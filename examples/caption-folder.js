// Captions all images of a folder: node caption-folder.js FOLDER OUTPUT.jsonl
import { createWriteStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { finished } from "node:stream/promises";
import { BUNDLED_MODEL, EpalmError, load } from "epalm";

const EXTENSIONS = new Set([".avif", ".gif", ".jpeg", ".jpg", ".png", ".tiff", ".webp"]);

/** Images that are processed at the same time. They share the steps of the decoder. */
const CONCURRENCY = 8;

const [folder, output] = process.argv.slice(2);
if (folder === undefined || output === undefined) {
  console.error("usage: node caption-folder.js FOLDER OUTPUT.jsonl");
  process.exit(2);
}

const names = (await readdir(folder)).filter((name) => EXTENSIONS.has(extname(name).toLowerCase())).sort();
const paths = names.map((name) => join(folder, name));
const model = await load(BUNDLED_MODEL);
const lines = createWriteStream(output);

// All loops take paths from the same iterator until it is empty. The lines are in the order in which captions finish.
const waiting = paths.values();
await Promise.all(Array.from({ length: CONCURRENCY }, captionWaiting));
lines.end();
await finished(lines);
await model.close();

async function captionWaiting() {
  for (const path of waiting) {
    lines.write(`${JSON.stringify({ image: basename(path), ...(await captionOf(path)) })}\n`);
  }
}

/**
 * A damaged file must not end the whole run.
 *
 * @param {string} path
 * @returns {Promise<{ caption: string } | { error: string }>}
 */
async function captionOf(path) {
  try {
    const { text } = await model.caption(path, { modality: "image" });
    return { caption: text };
  } catch (error) {
    if (error instanceof EpalmError) return { error: `${error.code}: ${error.message}` };
    throw error;
  }
}
