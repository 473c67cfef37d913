import type { Showing } from "./choose-frames.js";

/** A compressed frame of a video. Its place in a list is its place in the file, in which decoders need them. */
export interface Packet extends Showing {
  /** By when it must be decoded, in seconds: not later than `time`. */
  readonly decodeTime: number;
  /** Whether a decoder can start here. */
  readonly isKey: boolean;
}

/** One run of a decoder. */
export interface Segment {
  /** Where to start, in seconds; undefined: at the beginning. */
  readonly start: number | undefined;
  /** Of the frames to take, in order. */
  readonly times: readonly number[];
}

/** To start a decoder anew costs as much as to decode about so many frames. */
const RESTART_PACKETS = 48;

/**
 * How to decode the packets `wanted` (places in the file, in order of time, none twice) and few others: from the key
 * frame before each, unless the decoder is nearly there anyway.
 */
export function planDecoding(packets: readonly Packet[], wanted: readonly number[]): Segment[] {
  const segments: { start: number | undefined; times: number[] }[] = [];
  let reached = -1;
  for (const place of wanted) {
    const key = keyBefore(packets, place);
    const current = segments.at(-1);
    const time = packets[place]?.time ?? 0;
    if (key - reached > RESTART_PACKETS) segments.push({ start: packets[key]?.decodeTime, times: [time] });
    else if (current === undefined) segments.push({ start: undefined, times: [time] });
    else current.times.push(time);
    reached = Math.max(reached, place);
  }
  return segments;
}

/** The last key frame from which a packet can be decoded: frames seen before a key frame need the one before it. */
function keyBefore(packets: readonly Packet[], place: number): number {
  const time = packets[place]?.time ?? 0;
  return Math.max(
    0,
    packets.findLastIndex((packet, at) => at <= place && packet.isKey && packet.time <= time),
  );
}
