/** kbit/s by index, for MPEG-1 and for MPEG-2 and 2.5 together; layers I, II and III. */
const bitRates = {
  first: [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  ],
  later: [
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  ],
} as const;

const samplingRates = [44_100, 48_000, 32_000] as const;

/** A frame of MPEG audio, which has no magic bytes: eleven set bits and valid version, layer and rates. */
export interface MpegFrame {
  readonly name: "mp3" | "aac";
  /** In bytes, with the header. */
  readonly length: number;
  /** The part of the header that is the same in all frames. */
  readonly key: number;
}

/** The number of sampling rates of AAC, and the length of its header. */
const [AAC_RATES, AAC_HEADER] = [13, 7];

/** The frame whose header is at `at`; undefined if there is none. */
export function mpegFrame(bytes: Uint8Array, at: number): MpegFrame | undefined {
  const [sync = 0, kind = 0, rates = 0, more = 0, length = 0, last = 0] = bytes.subarray(at, at + 6);
  if (sync !== 0xff || kind >> 5 !== 7) return undefined;
  if ((kind & 0xf6) === 0xf0) {
    const bytes = ((more & 3) << 11) | (length << 3) | (last >> 5);
    const isValid = ((rates >> 2) & 15) < AAC_RATES && bytes > AAC_HEADER;
    return isValid ? { name: "aac", length: bytes, key: (kind << 8) | (rates & 0xfc) } : undefined;
  }
  const [version, layer] = [(kind >> 3) & 3, 4 - ((kind >> 1) & 3)];
  const [bitRate, samplingRate, padding] = [rates >> 4, samplingRates[(rates >> 2) & 3], (rates >> 1) & 1];
  const kilobits = bitRates[version === 3 ? "first" : "later"][layer - 1]?.[bitRate - 1];
  if (version === 1 || kilobits === undefined || samplingRate === undefined) return undefined;
  // Versions 3, 2 and 0 are MPEG-1, 2 and 2.5, which halve the rate each.
  const rate = version === 3 ? samplingRate : version === 2 ? samplingRate / 2 : samplingRate / 4;
  const key = (kind << 8) | (rates & 0x0c);
  if (layer === 1) return { name: "mp3", length: (Math.floor((12_000 * kilobits) / rate) + padding) * 4, key };
  const samples = layer === 3 && version !== 3 ? 72_000 : 144_000;
  return { name: "mp3", length: Math.floor((samples * kilobits) / rate) + padding, key };
}

/** Consecutive frames that do not occur by chance. */
const FRAMES = 3;

/** Whether several frames follow one another from `at` on, or two and then the end of the medium. */
export function mpegFramesAt(bytes: Uint8Array, at: number): MpegFrame["name"] | undefined {
  const first = mpegFrame(bytes, at);
  let place = at;
  for (let count = 0; first && count < FRAMES; count++) {
    if (count > 1 && place >= bytes.length) return first.name;
    const frame = mpegFrame(bytes, place);
    if (frame?.key !== first.key) return undefined;
    place += frame.length;
  }
  return first?.name;
}
