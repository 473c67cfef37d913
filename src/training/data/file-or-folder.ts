import { stat } from "node:fs/promises";
import { EpalmError, pathNotFound } from "../../core/errors.js";

/** Whether a path of a data set is a folder. @throws not_found; invalid_data if it is neither file nor folder */
export async function isFolderNotFile(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) throw pathNotFound(path);
  if (stats.isDirectory() || stats.isFile()) return stats.isDirectory();
  throw new EpalmError("invalid_data", `${path}: expected a regular file or a folder`);
}
