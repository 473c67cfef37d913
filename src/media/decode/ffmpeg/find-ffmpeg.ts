import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { readEnvironment } from "../../../core/environment.js";
import { EpalmError, messageOf, unexpected } from "../../../core/errors.js";

/** An ffmpeg program that runs and supports the required formats. */
export interface Ffmpeg {
  readonly path: string;
  /** As the program reports it, such as `5.1.9-0+deb12u1`. */
  readonly version: string;
  /** Year of the build, according to its copyright. */
  readonly year: number;
}

/** Before ffmpeg 4.4, which decodes AV1 well, and without the corrections since. */
const MODERN_YEAR = 2021;

/** Whether an ffmpeg lacks formats that newer ones read. */
export function isOutdated(year: number): boolean {
  return year < MODERN_YEAR;
}

/** Time limit for `ffmpeg -version`, which normally takes 20 ms. */
const ANSWER_SECONDS = 10;

/** Output formats that epalm uses; specialised builds of ffmpeg may lack them. */
const neededFormats = ["wav", "framecrc", "image2pipe"];

let found: Promise<Ffmpeg> | undefined;

/**
 * Finds the ffmpeg that decodes audio and video; the result is kept. If `FFMPEG_PATH` is set, only that program is
 * used. Otherwise the order is: the program that the package ffmpeg-static downloaded when it was installed, the PATH,
 * the program in the package @ffmpeg-installer/ffmpeg.
 *
 * @throws the errors of `searchFfmpeg`
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
 * Returns `given` or, if it is undefined, the first of the others that runs and supports the required formats.
 *
 * @throws invalid_option (`given` cannot be used), unsupported_media (no ffmpeg was found)
 */
export async function searchFfmpeg(
  given: string | undefined,
  others: readonly (string | undefined)[],
): Promise<Ffmpeg> {
  if (given !== undefined) {
    return started(given).catch((error: unknown) => {
      throw unexpected("invalid_option", "FFMPEG_PATH", "the path of an ffmpeg program", messageOf(error));
    });
  }
  for (const path of others) {
    const ffmpeg = path && (await started(path).catch(() => undefined));
    if (ffmpeg) return ffmpeg;
  }
  throw new EpalmError(
    "unsupported_media",
    "audio and video require ffmpeg, which was not found: install it or set FFMPEG_PATH to its path",
  );
}

async function started(path: string): Promise<Ffmpeg> {
  const ask = async (question: string) =>
    (await promisify(execFile)(path, ["-hide_banner", question], { timeout: ANSWER_SECONDS * 1000 })).stdout;
  const answer = await ask("-version");
  const version = /^ffmpeg version (\S+)/.exec(answer)?.[1];
  if (version === undefined) throw new EpalmError("invalid_option", `${path}, which does not report a version`);
  const formats = new Set((await ask("-muxers")).split(/\s+/));
  const missing = neededFormats.find((format) => !formats.has(format));
  if (missing !== undefined) throw new EpalmError("invalid_option", `${path}, which cannot write ${missing}`);
  const [, year = MODERN_YEAR] = /Copyright \(c\) \d{4}-(\d{4})/.exec(answer) ?? [];
  return { path, version, year: Number(year) };
}

/** The path that a package exports. The package may be missing or built for another platform, and may then throw. */
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
