import { endianness } from "node:os";
import { EpalmError } from "../../../core/errors.js";
import { SAMPLING_RATE } from "../../../preprocessing/audio-preprocessing.js";
import { nothingDecoded } from "../../detect/tracks.js";
import { MAX_MEDIA_BYTES, type MediaLimits } from "../../media-limits.js";
import type { MediaInput } from "../../read-media.js";
import { type MediaFile, withMediaFile } from "../ffmpeg/media-file.js";
import { inputArguments, runFfmpeg } from "../ffmpeg/run-ffmpeg.js";
import type { Waveform } from "./log-mel.js";

/** Ten minutes (38 MB of samples); audio encoders use ten seconds. */
export const MAX_AUDIO_SECONDS = 600;

export interface AudioOptions {
  /** Length of the beginning that is decoded, in seconds. Default and maximum: `MAX_AUDIO_SECONDS`. */
  readonly seconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Mixes to the mean of the channels. Without `rematrix_maxval`, two equal channels would become louder. */
const mono = ["-ac", "1", "-rematrix_maxval", "1"];

/**
 * Decodes the beginning of a medium's first audio track to 16 kHz mono. If the medium is damaged or truncated, the
 * result is the part that ffmpeg could decode.
 *
 * @throws invalid_option (`seconds`), unsupported_media, invalid_media (nothing could be decoded, or there is no
 *   audio track), too_large, not_found, aborted
 */
export async function decodeAudio(
  input: MediaInput,
  { seconds = MAX_AUDIO_SECONDS, signal }: AudioOptions = {},
  { maxBytes = MAX_MEDIA_BYTES }: MediaLimits = {},
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
        ...inputArguments(file),
        ...["-map", "0:a:0", "-t", seconds.toFixed(6), ...mono, "-ar", String(SAMPLING_RATE)],
        ...["-f", `f32${endianness().toLowerCase()}`, "pipe:1"],
      ],
      read: (output) => readSamples(output, length),
    });
    if (value.length === 0) throw await nothingDecoded(file, "audio", complaint, signal);
    return { data: value, sampleRate: SAMPLING_RATE };
  };
  return withMediaFile(input, maxBytes, decode, signal);
}

/** Reads `length` samples, or fewer if the output ends earlier. */
async function readSamples(output: AsyncIterable<Buffer>, length: number): Promise<Float32Array> {
  const bytes = length * Float32Array.BYTES_PER_ELEMENT;
  const pieces: Buffer[] = [];
  let count = 0;
  for await (const piece of output) {
    pieces.push(piece);
    count += piece.length;
    if (count >= bytes) break;
  }
  const whole = Buffer.concat(pieces, Math.min(count, bytes));
  const samples = new Float32Array(Math.floor(whole.length / Float32Array.BYTES_PER_ELEMENT));
  whole.copy(new Uint8Array(samples.buffer));
  return samples;
}
