import { EpalmError, unexpected } from "../../core/errors.js";
import { findFfmpeg, isOutdated } from "../decode/ffmpeg/find-ffmpeg.js";
import type { MediaFile } from "../decode/ffmpeg/media-file.js";
import { isAllowedCodec, runFfmpeg } from "../decode/ffmpeg/run-ffmpeg.js";

/** ffmpeg's short names of the codecs of the first tracks; undefined if there is no such track. */
export interface Tracks {
  readonly audio: string | undefined;
  /** A cover image does not count as a video track. */
  readonly video: string | undefined;
}

/** In UTF-16 units; ffmpeg's output for two tracks takes a tenth of this. */
const MAX_HEADER = 4096;

/** Reads the tracks from a container's header; there are none if it is damaged. @throws the errors of `runFfmpeg` */
export async function tracksOf(file: MediaFile, signal: AbortSignal | undefined): Promise<Tracks> {
  const { value: header } = await runFfmpeg({
    file,
    signal,
    arguments: ["-map", "0:V:0?", "-map", "0:a:0?", "-t", "0", "-c", "copy", "-f", "framecrc", "pipe:1"],
    read: async (output) => {
      let text = "";
      for await (const chunk of output) {
        text += chunk.toString("latin1");
        if (text.length > MAX_HEADER) break;
      }
      return text;
    },
  });
  const codecOf = (kind: string) => {
    const [, track] = new RegExp(`^#media_type (\\d): ${kind}$`, "m").exec(header) ?? [];
    return track && (new RegExp(`^#codec_id ${track}: (\\S+)`, "m").exec(header)?.[1] ?? "none");
  };
  return { audio: codecOf("audio"), video: codecOf("video") };
}

/**
 * The error that explains why nothing could be decoded.
 *
 * @param complaint ffmpeg's error message
 * @throws the errors of `tracksOf`
 */
export async function nothingDecoded(
  file: MediaFile,
  wanted: "audio" | "video",
  complaint: string | undefined,
  signal: AbortSignal | undefined,
): Promise<EpalmError> {
  const { where } = file;
  const tracks = await tracksOf(file, signal);
  const [codec, other] = wanted === "audio" ? [tracks.audio, tracks.video] : [tracks.video, tracks.audio];
  const { year } = await findFfmpeg();
  const advice = isOutdated(year) ? ` (the installed ffmpeg is of ${year}; a newer one may decode it)` : "";
  if (codec !== undefined && !isAllowedCodec(codec)) {
    const got = codec === "none" ? `an unknown codec${advice}` : codec;
    return unexpected("unsupported_media", where, `a common ${wanted} codec`, got);
  }
  if (codec !== undefined && /\bdecoder\b.*\bnot found\b|no decoder found/i.test(complaint ?? "")) {
    return new EpalmError("unsupported_media", `${where}: the installed ffmpeg has no decoder of ${codec}${advice}`);
  }
  // ffmpeg's message for an intact file without such a track.
  const lacks = codec === undefined && (other !== undefined || /^Stream map/.test(complaint ?? ""));
  if (lacks) return new EpalmError("invalid_media", `${where}: has no ${wanted} track`);
  const reason = complaint ?? `its ${wanted} is empty`;
  return new EpalmError("invalid_media", `${where}: cannot be decoded: ${reason}`);
}
