/**
 * The containers of sound and moving pictures that are read. A file is given to ffmpeg only under the one demuxer that
 * its first bytes ask for: playlists, scripts of file names, session descriptions and the like are thereby never
 * followed, whatever they are called.
 */
export interface Container {
  readonly name: string;
  /** What ffmpeg calls the format; its old and its new builds agree on these. */
  readonly demuxer: string;
  /** Whether pictures can be in it, too. */
  readonly holdsVideo: boolean;
}

/** What stands where, as Latin-1: one of the texts at each of the places. */
type Signature = readonly (readonly [at: number, ...texts: string[]])[];

interface Known extends Container {
  readonly signatures: readonly Signature[];
}

const sound = (name: string, ...signatures: readonly Signature[]): Known => {
  return { name, demuxer: name, holdsVideo: false, signatures };
};
const video = (name: string, demuxer: string, ...signatures: readonly Signature[]): Known => {
  return { name, demuxer, holdsVideo: true, signatures };
};

const mp3 = sound("mp3");
const aac = sound("aac");

const known: readonly Known[] = [
  sound("wav", [
    [0, "RIFF", "RF64", "BW64"],
    [8, "WAVE"],
  ]),
  sound("aiff", [
    [0, "FORM"],
    [8, "AIFF", "AIFC"],
  ]),
  sound("au", [[0, ".snd"]]),
  sound("caf", [[0, "caff\0\x01"]]),
  sound("flac", [[0, "fLaC"]]),
  sound("amr", [[0, "#!AMR"]]),
  mp3,
  aac,
  video("ogg", "ogg", [[0, "OggS"]]),
  // Apple's older files begin with another box than `ftyp`.
  video("mp4", "mov", [[4, "ftyp", "moov", "mdat", "wide", "free", "skip"]]),
  video("matroska", "matroska", [[0, "\x1aE\xdf\xa3"]]),
  video("avi", "avi", [
    [0, "RIFF"],
    [8, "AVI "],
  ]),
  video("flv", "flv", [[0, "FLV\x01"]]),
  video("asf", "asf", [[0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"]]),
  video("mpeg", "mpeg", [[0, "\0\0\x01\xba"]]),
  // A sync byte per packet; those of cameras have a time of four bytes in front.
  video("mpegts", "mpegts", everyPacket(0, 188), everyPacket(4, 192)),
];

/** AVIF and HEIC are made like MP4. */
const picture: Signature = [
  [4, "ftyp"],
  [8, "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"],
];

/** What errors call what is read. */
export const containerNames: readonly string[] = [...known.map(({ name }) => name), "gif", "webp"];

/** In bytes; as much of a medium as `containerOf` looks at. */
export const HEAD_BYTES = 64 * 1024;

/** Of the head, what signatures look at. */
const SIGNATURE_BYTES = 512;

/** Before the sound that it tells of: `ID3`, version, flags, its length behind these ten bytes. */
const TAG_HEADER = 10;

/** The container that the first bytes announce, or undefined. Says nothing about whether the rest is whole. */
export function containerOf(bytes: Uint8Array): Container | undefined {
  const text = latin1(bytes);
  if (!text.startsWith("ID3") || text.length < TAG_HEADER) return knownFrom(text);
  const length = bytes.subarray(6, TAG_HEADER).reduce((sum, byte) => sum * 128 + (byte & 127), 0);
  const behind = knownFrom(latin1(bytes.subarray(TAG_HEADER + length)));
  // Players look for MPEG sound some way behind the tag, and so does ffmpeg.
  return behind === undefined || behind.holdsVideo ? mp3 : behind;
}

function knownFrom(text: string): Container | undefined {
  if (matches(text, picture)) return undefined;
  const found = known.find(({ signatures }) => signatures.some((signature) => matches(text, signature)));
  return found ?? mpegSound(text);
}

function matches(text: string, signature: Signature): boolean {
  return signature.every(([at, ...texts]) => texts.some((expected) => text.startsWith(expected, at)));
}

/** MPEG sound has nothing in front: eleven set bits, then no version, bit rate or sampling rate that does not exist. */
function mpegSound(text: string): Container | undefined {
  const [sync = 0, kind = 0, rates = 0] = Array.from(text.slice(0, 3), (character) => character.charCodeAt(0));
  if (sync !== 0xff) return undefined;
  if ((kind & 0xf6) === 0xf0) return aac;
  const [version, layer] = [(kind >> 3) & 3, (kind >> 1) & 3];
  const [bitRate, samplingRate] = [rates >> 4, (rates >> 2) & 3];
  const isHeader = kind >> 5 === 7 && version !== 1 && bitRate > 0 && bitRate < 15 && samplingRate < 3;
  return isHeader && (layer === 1 || layer === 2) ? mp3 : undefined;
}

function everyPacket(first: number, length: number): Signature {
  return [0, 1, 2].map((packet) => [first + packet * length, "G"] as const);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, SIGNATURE_BYTES)).toString("latin1");
}
