import { readdir } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";
import { EpalmError } from "../../core/errors.js";
import { imageExtensions } from "../../media/detect/image-format.js";

/** Pictures of a folder and of all folders in it, sorted by path; hidden files are left out. */
export async function listImages(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => {
    throw new EpalmError("not_found", `${folder}: no such folder`);
  });
  const images = names.filter(
    (name) =>
      imageExtensions.includes(extname(name).toLowerCase()) && !name.split(sep).some((part) => part.startsWith(".")),
  );
  if (images.length === 0) throw new EpalmError("not_found", `${folder}: no pictures in it`);
  return images.sort().map((name) => join(folder, name));
}

/** Pictures by the sub-folder they are in, which is their label; labels are sorted. */
export async function listLabelledImages(folder: string): Promise<Map<string, string[]>> {
  const byLabel = new Map<string, string[]>();
  for (const path of await listImages(folder)) {
    const [label = "", ...inside] = relative(folder, path).split(sep);
    if (inside.length === 0) {
      throw new EpalmError("invalid_data", `${path}: expected pictures in sub-folders, one per label`);
    }
    const known = byLabel.get(label);
    if (known) known.push(path);
    else byLabel.set(label, [path]);
  }
  return byLabel;
}
