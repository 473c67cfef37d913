import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { readEnvironment } from "../environment.js";
import { EpalmError, messageOf } from "../errors.js";

/** An ffmpeg that was started once. */
export interface Ffmpeg {
  readonly path: string;
  /** As it says itself: `5.1.9-0+deb12u1`. */
  readonly version: string;
}

/** Seconds; a program that says its version takes a fiftieth of one. */
const VERSION_SECONDS = 10;

let found: Promise<Ffmpeg> | undefined;

/**
 * The ffmpeg that decodes sound and video, looked for once: `FFMPEG_PATH` (and then no other), the one that the package
 * ffmpeg-static downloaded when it was installed, the path's, the one inside the package @ffmpeg-installer/ffmpeg.
 *
 * @throws what `searchFfmpeg` throws
 */
export function findFfmpeg(): Promise<Ffmpeg> {
  const { given, folders } = readEnvironment().ffmpeg;
  const program = process.platform === "win32" ? "ffmpeg.exe" : "ffmpeg";
  found ??= searchFfmpeg(given, [
    packagedPath("ffmpeg-static"),
    ...folders.map((folder) => join(folder, program)),
    packagedPath("@ffmpeg-installer/ffmpeg"),
  ]).catch((error: unknown) => {
    found = undefined;
    throw error;
  });
  return found;
}

/**
 * `given`, or where it is undefined the first of the others that runs and says its version.
 *
 * @throws invalid_option (the given one does not run), unsupported_media (there is none)
 */
export async function searchFfmpeg(
  given: string | undefined,
  others: readonly (string | undefined)[],
): Promise<Ffmpeg> {
  if (given !== undefined) {
    return started(given).catch((error: unknown) => {
      throw new EpalmError("invalid_option", `FFMPEG_PATH: expected ffmpeg, got ${messageOf(error)}`);
    });
  }
  for (const path of others) {
    const ffmpeg = path && (await started(path).catch(() => undefined));
    if (ffmpeg) return ffmpeg;
  }
  throw new EpalmError(
    "unsupported_media",
    "sound and video need ffmpeg, and none was found: install it, or name it in FFMPEG_PATH",
  );
}

async function started(path: string): Promise<Ffmpeg> {
  const { stdout } = await promisify(execFile)(path, ["-version"], { timeout: VERSION_SECONDS * 1000 });
  const version = /^ffmpeg version (\S+)/.exec(stdout)?.[1];
  if (version === undefined)
    throw new EpalmError("invalid_option", `${path}, which does not say its version`);
  return { path, version };
}

/** What a package names, which may be missing, or made for other machines: then it throws what it likes. */
function packagedPath(name: string): string | undefined {
  try {
    const exported: unknown = createRequire(import.meta.url)(name);
    if (typeof exported === "string") return exported;
    if (typeof exported !== "object" || exported === null || !("path" in exported)) return undefined;
    return typeof exported.path === "string" ? exported.path : undefined;
  } catch {
    return undefined;
  }
}
