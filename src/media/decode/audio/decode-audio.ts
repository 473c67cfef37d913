import { EpalmError } from "../../../core/errors.js";
import { SAMPLING_RATE } from "../../../preprocessing/sampling-rate.js";
import { nothingDecoded } from "../../detect/tracks.js";
import type { MediaLimits } from "../../media-limits.js";
import type { MediaInput } from "../../read-media.js";
import { type MediaFile, withMediaFile } from "../ffmpeg/media-file.js";
import { runFfmpeg } from "../ffmpeg/run-ffmpeg.js";
import type { Waveform } from "./log-mel.js";
import { readMeanOfChannels } from "./mean-of-channels.js";

/** Ten minutes (38 MB of samples); audio encoders use ten seconds. */
export const MAX_AUDIO_SECONDS = 600;

export interface AudioOptions {
  /** Length of the beginning that is decoded, in seconds. Default and maximum: `MAX_AUDIO_SECONDS`. */
  readonly seconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Decodes the beginning of a medium's first audio track to 16 kHz mono: the plain mean of all channels, whatever their
 * layout, as librosa mixes them. (ffmpeg would drop the low-frequency channel of 5.1 and weight the others, and it
 * refuses layouts that it does not know.) If the medium is damaged or truncated, the result is
 * the part that ffmpeg could decode.
 *
 * @throws invalid_option (`seconds`), unsupported_media, invalid_media (nothing could be decoded, or there is no
 *   audio track), too_large, not_found, aborted
 */
export async function decodeAudio(
  input: MediaInput,
  { seconds = MAX_AUDIO_SECONDS, signal }: AudioOptions = {},
  limits: MediaLimits = {},
): Promise<Waveform> {
  if (!(seconds > 0 && seconds <= MAX_AUDIO_SECONDS)) {
    const expected = `expected a number above 0 and at most ${MAX_AUDIO_SECONDS}`;
    throw new EpalmError("invalid_option", `seconds: ${expected}, got ${seconds}`);
  }
  const decode = async (file: MediaFile): Promise<Waveform> => {
    const length = Math.ceil(seconds * SAMPLING_RATE);
    const { value, complaint } = await runFfmpeg({
      file,
      signal,
      arguments: [
        ...["-map", "0:a:0", "-t", seconds.toFixed(6), "-ar", String(SAMPLING_RATE)],
        ...["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"],
      ],
      read: (output) => readMeanOfChannels(output, length),
    });
    if (value.length === 0) throw await nothingDecoded(file, "audio", complaint, signal);
    return { data: value, sampleRate: SAMPLING_RATE };
  };
  return withMediaFile(input, limits, decode, signal);
}
