import { crc32, deflateSync } from "node:zlib";
import { EpalmError } from "../../../core/errors.js";
import type { Container } from "../../detect/container.js";
import type { MediaLimits } from "../../media-limits.js";
import { findFfmpeg, isOutdated } from "../ffmpeg/find-ffmpeg.js";
import { withContainer } from "../ffmpeg/media-file.js";
import { runFfmpeg } from "../ffmpeg/run-ffmpeg.js";
import { inImageProcess } from "./image-processes.js";
import type { Image } from "./image-task.js";
import { checkPixels } from "./sharp-pixels.js";

const bmp: Container = { name: "bmp", demuxer: "bmp_pipe", holdsVideo: false, streams: true };
const heic: Container = { name: "heic", demuxer: "mov", holdsVideo: false, streams: false };

type TemporaryLimits = Pick<MediaLimits, "maxTemporaryBytes">;

/**
 * Converts formats that libvips does not decode to PNG; returns others unchanged. ffmpeg decodes BMP. HEIC is decoded
 * by the optional package `heic-decode` if it is installed, otherwise by ffmpeg if that is able to.
 *
 * @throws unsupported_media (HEIC that cannot be decoded here), invalid_media, too_large, aborted
 */
export async function converted(
  image: Image,
  limits: TemporaryLimits,
  signal: AbortSignal | undefined,
): Promise<Image> {
  if (image.format === "bmp") return { ...image, bytes: await bmpToPng(image, signal) };
  if (image.format === "heic") return { ...image, bytes: await heicToPng(image, limits, signal) };
  return image;
}

async function bmpToPng(image: Image, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const header = Buffer.from(image.bytes.subarray(0, 26));
  if (header.length === 26) {
    const isOld = header.readUInt32LE(14) === 12;
    const width = isOld ? header.readUInt16LE(18) : Math.abs(header.readInt32LE(18));
    const height = isOld ? header.readUInt16LE(20) : Math.abs(header.readInt32LE(22));
    checkPixels({ height, width }, image.maxPixels, image.where, "its size");
  }
  const { png, complaint } = await ffmpegPng(image, bmp, {}, signal);
  // ffmpeg fills the missing rows of a truncated file.
  if (png.length > 0 && complaint === undefined) return png;
  throw new EpalmError("invalid_media", `${image.where}: bmp cannot be decoded: ${complaint ?? "it is empty"}`);
}

async function heicToPng(image: Image, limits: TemporaryLimits, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { height, width, profile, png } = await inImageProcess(image, { kind: "heif" }, signal);
  if (png) return withProfile(png, profile);
  // ffmpeg ignores some transformations, and older versions decode a single tile of a grid.
  const isTransformed = /irot|imir/.test(Buffer.from(image.bytes.subarray(0, HEADER_BYTES)).toString("latin1"));
  const made = isTransformed ? undefined : await ffmpegPng(image, heic, limits, signal);
  if (made && isOfSize(made.png, width, height)) return withProfile(made.png, profile);
  const { year } = await findFfmpeg();
  const newer = isOutdated(year) ? `, or a newer ffmpeg than that of ${year},` : "";
  const advice = `convert it to JPEG, or install the package heic-decode${newer} where epalm runs`;
  throw new EpalmError("unsupported_media", `${image.where}: HEIC cannot be decoded here: ${advice}`);
}

/** In bytes; a photograph's list of tiles takes a tenth. */
const HEADER_BYTES = 64 * 1024;

/** Reads the size from the header of a PNG. */
function isOfSize(png: Buffer, width: number, height: number): boolean {
  return png.length > PNG_HEADER && png.readUInt32BE(16) === width && png.readUInt32BE(20) === height;
}

/** Decodes the first picture; the PNG is empty if that fails. */
async function ffmpegPng(image: Image, container: Container, limits: TemporaryLimits, signal: AbortSignal | undefined) {
  const { bytes, where, maxPixels } = image;
  return withContainer(
    { input: bytes, where, container, start: 0 },
    limits,
    async (file) => {
      const { value, complaint } = await runFfmpeg({
        file,
        signal,
        before: ["-max_pixels", String(maxPixels)],
        arguments: [
          ...["-map", "0:v:0", "-frames:v", "1", "-c:v", "png", "-compression_level", "1"],
          ...["-f", "image2pipe", "pipe:1"],
        ],
        read: async (output) => {
          const chunks: Buffer[] = [];
          for await (const chunk of output) chunks.push(chunk);
          return Buffer.concat(chunks);
        },
      });
      return { png: value, complaint };
    },
    signal,
  );
}

/** Length of the signature and the first chunk of a PNG. */
const PNG_HEADER = 33;

/** Inserts an ICC profile into a PNG that has none. */
function withProfile(png: Uint8Array, profile: Uint8Array | undefined): Uint8Array {
  if (profile === undefined) return png;
  const content = Buffer.concat([Buffer.from("iCCPicc\0\0", "latin1"), deflateSync(profile)]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length - 4);
  sum.writeUInt32BE(crc32(content));
  return Buffer.concat([png.subarray(0, PNG_HEADER), length, content, sum, png.subarray(PNG_HEADER)]);
}
