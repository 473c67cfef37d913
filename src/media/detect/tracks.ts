import { EpalmError } from "../../core/errors.js";
import type { MediaFile } from "../decode/ffmpeg/media-file.js";
import { inputArguments, runFfmpeg } from "../decode/ffmpeg/run-ffmpeg.js";

export interface Tracks {
  readonly hasAudio: boolean;
  /** Moving pictures; the cover of a record is none. */
  readonly hasVideo: boolean;
}

/** In UTF-16 units: what ffmpeg says of two tracks is a tenth of it. */
const MAX_HEADER = 4096;

/** What is in a container, of its header. A medium whose header is damaged holds nothing. Throws what `runFfmpeg` throws. */
export async function tracksOf(file: MediaFile, signal: AbortSignal | undefined): Promise<Tracks> {
  const { value: header } = await runFfmpeg({
    file,
    signal,
    arguments: [
      ...inputArguments(file),
      ...["-map", "0:V:0?", "-map", "0:a:0?", "-t", "0", "-c", "copy", "-f", "framecrc", "pipe:1"],
    ],
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

/** The error that says why nothing came of a medium, `complaint` being what ffmpeg said. Throws what `tracksOf` throws. */
export async function nothingDecoded(
  file: MediaFile,
  wanted: "sound" | "video",
  complaint: string | undefined,
  signal: AbortSignal | undefined,
): Promise<EpalmError> {
  const { hasAudio, hasVideo } = await tracksOf(file, signal);
  const [has, hasOther] = wanted === "sound" ? [hasAudio, hasVideo] : [hasVideo, hasAudio];
  // ffmpeg's word for a whole file without such a track.
  const lacks = !has && (hasOther || /^Stream map/.test(complaint ?? ""));
  const reason = lacks ? `holds no ${wanted}` : `cannot be decoded: ${complaint ?? `its ${wanted} is empty`}`;
  return new EpalmError("invalid_media", `${file.where}: ${reason}`);
}
