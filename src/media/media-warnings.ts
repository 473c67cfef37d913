import { messageOf } from "../core/errors.js";
import { findFfmpeg, isOutdated } from "./decode/ffmpeg/find-ffmpeg.js";
import { temporaryFolderFault } from "./decode/ffmpeg/temporary-file.js";

/** What on this machine limits the media that can be decoded, as sentences for the operator of a service. */
export async function mediaWarnings(): Promise<string[]> {
  const fault = await temporaryFolderFault();
  const noFolder =
    "the folder for temporary files cannot be written, so media that ffmpeg cannot read from a pipe, such as most MP4 " +
    "files of cameras, will get 503: make it writable, or set TMPDIR to another folder";
  const program = await ffmpegWarning();
  return [...(fault === undefined ? [] : [`${noFolder} (${fault})`]), ...(program === undefined ? [] : [program])];
}

async function ffmpegWarning(): Promise<string | undefined> {
  try {
    const { path, year } = await findFfmpeg();
    if (!isOutdated(year)) return undefined;
    return (
      `${path} is an ffmpeg of ${year}, which lacks newer formats (such as HEIC) and has known security holes: ` +
      "install a newer one, or set FFMPEG_PATH to its path"
    );
  } catch (error) {
    return messageOf(error);
  }
}
