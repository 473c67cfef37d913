import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { endianness } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { readEnvironment } from "../../../core/environment.js";
import { EpalmError, messageOf, unexpected } from "../../../core/errors.js";

/** An ffmpeg that was started, and can do what is needed. */
export interface Ffmpeg {
  readonly path: string;
  /** As it says itself: `5.1.9-0+deb12u1`. */
  readonly version: string;
}

/** A program that says its version takes a fiftieth of a second. */
const ANSWER_SECONDS = 10;

/** In which ffmpeg hands its results over; builds for some purpose of their own may lack them. */
const neededFormats = [`f32${endianness().toLowerCase()}`, "framecrc", "image2pipe"];

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
 * `given`, or where it is undefined the first of the others that runs and can do what is needed.
 *
 * @throws invalid_option (the given one does not run), unsupported_media (there is none)
 */
export async function searchFfmpeg(
  given: string | undefined,
  others: readonly (string | undefined)[],
): Promise<Ffmpeg> {
  if (given !== undefined) {
    return started(given).catch((error: unknown) => {
      throw unexpected("invalid_option", "FFMPEG_PATH", "ffmpeg", messageOf(error));
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
  const ask = async (question: string) =>
    (await promisify(execFile)(path, ["-hide_banner", question], { timeout: ANSWER_SECONDS * 1000 })).stdout;
  const version = /^ffmpeg version (\S+)/.exec(await ask("-version"))?.[1];
  if (version === undefined) throw new EpalmError("invalid_option", `${path}, which does not say its version`);
  const formats = new Set((await ask("-muxers")).split(/\s+/));
  const missing = neededFormats.find((format) => !formats.has(format));
  if (missing !== undefined) throw new EpalmError("invalid_option", `${path}, which cannot write ${missing}`);
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
