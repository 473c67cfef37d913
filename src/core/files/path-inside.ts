import { realpathSync } from "node:fs";
import { isAbsolute, join, relative, sep } from "node:path";

/**
 * The path of a file that an index or a server names, provided that the name stays inside the folder on every
 * operating system: relative, without `..`, backslashes, drive letters or empty parts. Otherwise undefined.
 */
export function pathInside(folder: string, name: string): string | undefined {
  const parts = name.split("/");
  const safe = parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[\\:\p{Cc}]/u.test(part));
  return safe ? join(folder, ...parts) : undefined;
}

/**
 * Whether an existing file is inside a folder after all symbolic links have been followed. The folder itself may be
 * reached through a link.
 */
export function isReallyInside(folder: string, path: string): boolean {
  const way = relative(realpathSync(folder), realpathSync(path));
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
