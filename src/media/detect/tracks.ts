import { EpalmError } from "../../core/errors.js";
import type { MediaFile } from "../decode/ffmpeg/media-file.js";
import { runFfmpeg } from "../decode/ffmpeg/run-ffmpeg.js";

export interface Tracks {
  readonly hasAudio: boolean;
  /** Whether there is a video track; a cover image does not count as one. */
  readonly hasVideo: boolean;
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
  return {
    hasVideo: /^#media_type \d: video$/m.test(header),
    hasAudio: /^#media_type \d: audio$/m.test(header),
  };
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
  const { hasAudio, hasVideo } = await tracksOf(file, signal);
  const [has, hasOther] = wanted === "audio" ? [hasAudio, hasVideo] : [hasVideo, hasAudio];
  // ffmpeg's message for an intact file without such a track.
  const lacks = !has && (hasOther || /^Stream map/.test(complaint ?? ""));
  const reason = lacks ? `has no ${wanted} track` : `cannot be decoded: ${complaint ?? `its ${wanted} is empty`}`;
  return new EpalmError("invalid_media", `${file.where}: ${reason}`);
}
