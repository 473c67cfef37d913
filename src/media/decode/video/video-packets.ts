import { EpalmError } from "../../../core/errors.js";
import type { ImageSize } from "../../../preprocessing/image-preprocessing.js";
import { findFfmpeg, isOutdated } from "../ffmpeg/find-ffmpeg.js";
import type { MediaFile } from "../ffmpeg/media-file.js";
import { runFfmpeg } from "../ffmpeg/run-ffmpeg.js";
import type { Packet } from "./plan-decoding.js";

/** One hour at 60 frames per second. */
const MAX_PACKETS = 216_000;

/** In UTF-16 units; ffmpeg writes shorter lines. */
const MAX_LINE = 1024;

/** `AV_PKT_FLAG_KEY` and `AV_PKT_FLAG_DISCARD` of libavcodec. A discarded frame is decoded but not shown. */
const [KEY, DISCARD] = [1, 4];

/** libavutil's value for a missing time. */
const NO_TIME = "-9223372036854775808";

/** The first video track, not decoded. */
export interface VideoPackets {
  /** Size according to the container, without rotation; undefined if not specified. */
  readonly size: ImageSize | undefined;
  /** ffmpeg's short name of the codec. */
  readonly codec: string | undefined;
  /** Packets in the order of the file; empty if there is no video track. */
  readonly packets: readonly Packet[];
  readonly complaint: string | undefined;
}

/** Reads a file once without decoding it. @throws too_large and the errors of `runFfmpeg` */
export async function readVideoPackets(file: MediaFile, signal: AbortSignal | undefined): Promise<VideoPackets> {
  const { value, complaint } = await runFfmpeg({
    file,
    signal,
    before: ["-copyts"],
    arguments: ["-map", "0:V:0", "-c", "copy", "-copyinkf", "-f", "framecrc", "pipe:1"],
    read: (output) => readList(output, file.where),
  });
  return { ...value, complaint };
}

/** Decoders that return no frame for a packet that changes nothing, in old versions of ffmpeg. */
const silentCodecs: readonly (string | undefined)[] = ["qtrle"];

/** Ticks per second of the times of decoded frames. */
const TICKS = 1000;

/**
 * For each packet, the packet whose frame is seen at its time: itself, or the last one before it for which the decoder
 * returned a frame. Decodes the whole video if its decoder may return fewer frames than there are packets.
 *
 * @param shown indices of packets in order of time
 * @throws too_large and the errors of `runFfmpeg`
 */
export async function seenPackets(
  file: MediaFile,
  { codec, packets }: VideoPackets,
  shown: readonly number[],
  maxPixels: number,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, number>> {
  const mayBeSilent = silentCodecs.includes(codec) && isOutdated((await findFfmpeg()).year);
  if (!mayBeSilent) return new Map(shown.map((place) => [place, place]));
  const { value } = await runFfmpeg({
    file,
    signal,
    before: ["-copyts", "-max_pixels", String(maxPixels)],
    arguments: [
      ...["-map", "0:V:0", "-vf", "scale=16:16", "-r", String(TICKS)],
      ...["-c:v", "rawvideo", "-f", "framecrc", "pipe:1"],
    ],
    read: (output) => readList(output, file.where),
  });
  const decoded = new Set(value.packets.map(({ time }) => Math.round(time * TICKS)));
  let seen = shown[0] ?? 0;
  return new Map(
    shown.map((place) => {
      const tick = Math.round((packets[place]?.time ?? 0) * TICKS);
      if (decoded.has(tick) || decoded.has(tick - 1) || decoded.has(tick + 1)) seen = place;
      return [place, seen];
    }),
  );
}

/** Reads ffmpeg's `framecrc`: `#name 0: value` lines, then `0, decode time, time, duration, bytes, sum[, F=flags]`. */
async function readList(output: AsyncIterable<Buffer>, where: string): Promise<Omit<VideoPackets, "complaint">> {
  const packets: Packet[] = [];
  let size: ImageSize | undefined;
  let codec: string | undefined;
  let tick = 1;
  for await (const line of linesOf(output)) {
    const [, name, value = ""] = /^#(\w+) 0: (.*)$/.exec(line) ?? [];
    if (name === "tb") tick = fraction(value);
    if (name === "codec_id") codec = value;
    if (name === "dimensions") size = sizeOf(value);
    if (line.startsWith("#")) continue;
    const packet = packetOf(line, tick);
    if (packet !== undefined) packets.push(packet);
    if (packets.length > MAX_PACKETS) {
      throw new EpalmError("too_large", `${where}: expected at most ${MAX_PACKETS} frames`);
    }
  }
  return { size, codec, packets };
}

function packetOf(line: string, tick: number): Packet | undefined {
  const [, decodeTicks = NO_TIME, ticks = NO_TIME, duration = "0"] = line.split(",").map((part) => part.trim());
  const time = ticks === NO_TIME ? decodeTicks : ticks;
  if (time === NO_TIME) return undefined;
  const flags = Number(/, F=(0x[0-9A-F]+)/.exec(line)?.[1] ?? KEY);
  if ((flags & DISCARD) !== 0) return undefined;
  const decodeTime = decodeTicks === NO_TIME ? time : decodeTicks;
  return {
    time: Number(time) * tick,
    decodeTime: Math.min(Number(decodeTime), Number(time)) * tick,
    duration: Number(duration) * tick,
    isKey: (flags & KEY) !== 0,
  };
}

function fraction(text: string): number {
  const [over = 1, under = 1] = text.split("/").map(Number);
  return over / under;
}

function sizeOf(text: string): ImageSize | undefined {
  const [width = 0, height = 0] = text.split("x").map(Number);
  return width > 0 && height > 0 ? { height, width } : undefined;
}

async function* linesOf(output: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of output) {
    const lines = (rest + chunk.toString("latin1")).split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    yield* lines;
  }
}
