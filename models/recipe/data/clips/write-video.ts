import { spawn } from "node:child_process";
import { renameSync } from "node:fs";
import { text } from "node:stream/consumers";
import { EpalmError, messageOf } from "../../../../src/core/errors.js";
import { findFfmpeg } from "../../../../src/media/decode/ffmpeg/find-ffmpeg.js";
import type { PaintedImage } from "../images/paint.js";

export interface VideoOptions {
  readonly framesPerSecond: number;
  /** Constant rate factor (CRF) of x264: 0 is lossless, 51 is the lowest quality. */
  readonly loss: number;
}

/**
 * Writes frames as an MP4 file with H.264. The file appears under its name only when it is complete; the same frames
 * give the same file.
 *
 * @throws unsupported_media if ffmpeg cannot write the file
 */
export async function writeVideo(
  path: string,
  frames: readonly PaintedImage[],
  { framesPerSecond, loss }: VideoOptions,
): Promise<void> {
  const { path: program } = await findFfmpeg();
  const side = frames[0]?.side ?? 0;
  const part = `${path}.part`;
  const ffmpeg = spawn(program, [
    ...["-hide_banner", "-loglevel", "error", "-y"],
    ...["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", `${side}x${side}`, "-r", String(framesPerSecond)],
    ...["-i", "pipe:0", "-c:v", "libx264", "-preset", "veryfast", "-crf", loss.toFixed(1), "-threads", "1"],
    ...["-pix_fmt", "yuv420p", "-bitexact", "-f", "mp4", part],
  ]);
  const exit = new Promise<string | undefined>((resolve) => {
    ffmpeg.once("error", (error) => resolve(messageOf(error)));
    ffmpeg.once("close", (code) => resolve(code === 0 ? undefined : `it exited with code ${code}`));
  });
  // If ffmpeg ends early, its own message is reported instead of this error.
  ffmpeg.stdin.on("error", () => undefined);
  ffmpeg.stdin.end(Buffer.concat(frames.map(bytesOf)));
  const [complaint, failure] = await Promise.all([text(ffmpeg.stderr), exit]);
  if (failure !== undefined) {
    throw new EpalmError("unsupported_media", `${path}: ffmpeg cannot write the video: ${complaint.trim() || failure}`);
  }
  renameSync(part, path);
}

function bytesOf({ pixels }: PaintedImage): Uint8Array {
  const rounded = new Uint8ClampedArray(pixels);
  return new Uint8Array(rounded.buffer);
}
