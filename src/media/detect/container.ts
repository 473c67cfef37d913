/**
 * A supported container of audio or video. ffmpeg reads a file only with the one demuxer that matches its first bytes.
 * Therefore playlists, lists of file names, session descriptions and the like are never followed, whatever their names.
 */
export interface Container {
  readonly name: string;
  /** ffmpeg's name of the format, which is the same in old and new builds. */
  readonly demuxer: string;
  /** Whether the container can hold video in addition to audio. */
  readonly holdsVideo: boolean;
}

/** Magic bytes as Latin-1: at each offset, one of the strings must occur. */
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
  // Apple's older files begin with a box other than `ftyp`.
  video("mp4", "mov", [[4, "ftyp", "moov", "mdat", "wide", "free", "skip"]]),
  video("matroska", "matroska", [[0, "\x1aE\xdf\xa3"]]),
  video("avi", "avi", [
    [0, "RIFF"],
    [8, "AVI "],
  ]),
  video("flv", "flv", [[0, "FLV\x01"]]),
  video("asf", "asf", [[0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"]]),
  video("mpeg", "mpeg", [[0, "\0\0\x01\xba"]]),
  // Every packet begins with a sync byte; in camera files, a timestamp of four bytes precedes it.
  video("mpegts", "mpegts", everyPacket(0, 188), everyPacket(4, 192)),
];

/** AVIF and HEIC use the same container structure as MP4. */
const picture: Signature = [
  [4, "ftyp"],
  [8, "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"],
];

/** The supported formats as errors list them. */
export const containerNames: readonly string[] = [...known.map(({ name }) => name), "gif", "webp"];

/** The number of bytes at the start of a medium that `containerOf` examines. */
export const HEAD_BYTES = 64 * 1024;

/** The number of bytes that signatures examine. */
const SIGNATURE_BYTES = 512;

/** Bytes of the header of an ID3 tag, which precedes the audio: `ID3`, version, flags, length of the rest. */
const TAG_HEADER = 10;

/** Detects the container from the first bytes; undefined if it is not supported. The rest is not checked. */
export function containerOf(bytes: Uint8Array): Container | undefined {
  const text = latin1(bytes);
  if (!text.startsWith("ID3") || text.length < TAG_HEADER) return knownFrom(text);
  const length = bytes.subarray(6, TAG_HEADER).reduce((sum, byte) => sum * 128 + (byte & 127), 0);
  const behind = knownFrom(latin1(bytes.subarray(TAG_HEADER + length)));
  // Like other players, ffmpeg searches for MPEG audio some distance after the tag.
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

/** MPEG audio has no magic bytes: it starts with eleven set bits and a valid version, bit rate and sampling rate. */
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
