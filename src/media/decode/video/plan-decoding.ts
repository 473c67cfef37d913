import type { Showing } from "./choose-frames.js";

/** A compressed frame of a video. Lists of packets are in the order of the file, which decoders require. */
export interface Packet extends Showing {
  /** Decoding timestamp in seconds, at most `time`. */
  readonly decodeTime: number;
  /** Whether a decoder can start here. */
  readonly isKey: boolean;
}

/** One run of a decoder. */
export interface Segment {
  /** Start position in seconds; undefined for the beginning of the file. */
  readonly start: number | undefined;
  /** Times of the wanted frames, in order. */
  readonly times: readonly number[];
}

/** Restarting a decoder costs about as much as decoding this many frames. */
const RESTART_PACKETS = 48;

/**
 * Plans how to decode the packets `wanted` and few others: the decoder starts at the key frame before each, unless it
 * has nearly reached that position anyway.
 *
 * @param wanted indices in `packets`, in order of time, without duplicates
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

/** The last key frame from which a packet can be decoded; a packet shown before a key frame needs an earlier one. */
function keyBefore(packets: readonly Packet[], place: number): number {
  const time = packets[place]?.time ?? 0;
  return Math.max(
    0,
    packets.findLastIndex((packet, at) => at <= place && packet.isKey && packet.time <= time),
  );
}
