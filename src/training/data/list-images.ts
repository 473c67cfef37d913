import { readdir } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";
import { EpalmError } from "../../core/errors.js";
import { imageExtensions } from "../../media/detect/image-format.js";

/**
 * Images of a folder and of all folders below it, sorted by path, without hidden files.
 *
 * @throws not_found if there is no folder, or no image in it
 */
export async function listImages(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => {
    throw new EpalmError("not_found", `${folder}: no such folder`);
  });
  const images = names.filter(
    (name) =>
      imageExtensions.includes(extname(name).toLowerCase()) && !name.split(sep).some((part) => part.startsWith(".")),
  );
  if (images.length === 0) throw new EpalmError("not_found", `${folder}: expected at least one image, got none`);
  return images.sort().map((name) => join(folder, name));
}

/**
 * Images by label, which is the name of their subfolder; labels are sorted.
 *
 * @throws not_found; invalid_data if an image is not in a subfolder
 */
export async function listLabelledImages(folder: string): Promise<Map<string, string[]>> {
  const byLabel = new Map<string, string[]>();
  for (const path of await listImages(folder)) {
    const [label = "", ...inside] = relative(folder, path).split(sep);
    if (inside.length === 0) {
      throw new EpalmError("invalid_data", `${path}: expected images in subfolders, one per label`);
    }
    const known = byLabel.get(label);
    if (known) known.push(path);
    else byLabel.set(label, [path]);
  }
  return byLabel;
}
