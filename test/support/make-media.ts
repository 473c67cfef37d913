import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFfmpeg } from "../../src/media/decode/ffmpeg/find-ffmpeg.js";

const { path } = await findFfmpeg();
const encoders = new Set(
  execFileSync(path, ["-hide_banner", "-encoders"], { encoding: "latin1" })
    .split("\n")
    .map((line) => line.trim().split(/\s+/)[1]),
);

/** The reason for skipping a test that needs `encoder`, or false. */
export function lacksEncoder(encoder: string): string | false {
  return encoders.has(encoder) ? false : `the installed ffmpeg has no encoder ${encoder}`;
}

/** The file that ffmpeg writes with these arguments; the extension of `name` selects the format. */
export function makeMedia(name: string, ...args: readonly string[]): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "epalm-made-"));
  try {
    const file = join(folder, name);
    execFileSync(path, ["-loglevel", "error", "-nostdin", ...args, "-bitexact", file], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Two seconds of 440 Hz, stereo, at 44.1 kHz. */
export const tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=2", "-ac", "2"];

/** One second each of red, green and blue, 64 x 48, 25 frames per second. */
export const threeColours = [
  ...["-f", "lavfi", "-i"],
  ["red", "lime", "blue"]
    .map((colour, index) => `color=c=${colour}:s=64x48:r=25:d=1[v${index}]`)
    .join(";")
    .concat(";[v0][v1][v2]concat=n=3"),
];

/** The number of distinct frames of `numbered`, after which they repeat. */
export const NUMBERS = 100;

/** Frames that encode their number as grey, two levels brighter each. */
export function numbered(frames: number): string[] {
  const grey = `nullsrc=s=32x32:r=25:d=${frames / 25},geq=lum='22+2*mod(N\\,${NUMBERS})':cb=128:cr=128`;
  return ["-f", "lavfi", "-i", `${grey},format=yuv420p`];
}

/** The number of a frame of `numbered`, from its red level; the conversion to RGB may round down. */
export function numberOf(level: number): number {
  return Math.max(0, Math.round((((level + 0.5) * 219) / 255 + 16 - 22) / 2));
}
