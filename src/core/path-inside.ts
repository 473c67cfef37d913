import { join } from "node:path";

/**
 * The path of a file that an index or a server names, provided that the name stays inside the folder on every
 * operating system: relative, without `..`, backslashes, drive letters or empty parts. Otherwise undefined.
 */
export function pathInside(folder: string, name: string): string | undefined {
  const parts = name.split("/");
  const safe = parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[\\:\p{Cc}]/u.test(part));
  return safe ? join(folder, ...parts) : undefined;
}
