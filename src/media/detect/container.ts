import { mpegFrame, mpegFramesAt } from "./mpeg-audio.js";

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
  /** Whether ffmpeg reads it from its beginning to its end without seeking, unless a later position is wanted. */
  readonly streams: boolean;
}

/** A container and where it begins: tags and other bytes may precede it. */
export interface FoundContainer {
  readonly container: Container;
  readonly start: number;
}

/** Magic bytes as Latin-1: at each offset, one of the strings must occur. */
type Signature = readonly (readonly [at: number, ...texts: string[]])[];

interface Known extends Container {
  readonly signatures: readonly Signature[];
}

/** Their index may be at the end, or they store each track in one piece. */
const seeking = ["aiff", "caf", "mp4", "avi"];

const container = (name: string, demuxer: string, holdsVideo: boolean, signatures: readonly Signature[]): Known => {
  return { name, demuxer, holdsVideo, streams: !seeking.includes(name), signatures };
};
const sound = (name: string, ...signatures: readonly Signature[]) => container(name, name, false, signatures);
const video = (name: string, demuxer: string, ...signatures: readonly Signature[]) => {
  return container(name, demuxer, true, signatures);
};

const mp3 = sound("mp3");
const aac = sound("aac");

const mpegPs = video("mpeg", "mpeg", [[0, "\0\0\x01\xba"]]);
const mpegTs = video("mpegts", "mpegts");

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
  mpegPs,
  mpegTs,
];

/** AVIF and HEIC use the same container structure as MP4. */
const picture: Signature = [
  [4, "ftyp"],
  [8, "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"],
];

/** The supported formats as errors list them. */
export const containerNames: readonly string[] = [...known.map(({ name }) => name), "gif", "webp"];

/** First bytes of formats that are not supported, but common enough that errors name them. */
const others: readonly (readonly [name: string, ...starts: string[]])[] = [
  ["Monkey's Audio", "MAC "],
  ["WavPack", "wvpk"],
  ["Musepack", "MPCK", "MP+"],
  ["True Audio", "TTA1"],
  ["DSD", "DSD ", "FRM8"],
  ["MIDI", "MThd"],
  ["RealMedia", ".RMF", ".ra"],
  ["a playlist", "#EXTM3U"],
];

/** The number of bytes behind leading tags that `findContainer` examines. */
export const HEAD_BYTES = 64 * 1024;

/** The number of bytes that signatures examine. */
export const SIGNATURE_BYTES = 512;

/** The name of a well-known format that is not supported. */
export function otherContainerOf(head: Uint8Array): string | undefined {
  const text = latin1(head);
  return others.find(([, ...starts]) => starts.some((start) => text.startsWith(start)))?.[0];
}

/**
 * Detects the container from a medium's first bytes; undefined if it is not supported. The rest is not checked. Like
 * ffmpeg and media players, this skips tags, and bytes before the first frame or packet of a stream.
 *
 * @param head `HEAD_BYTES` from the end of the leading tags on, see `leadingTags`
 * @param isTagged whether there are leading tags
 */
export function findContainer(head: Uint8Array, isTagged: boolean): FoundContainer | undefined {
  const window = head.subarray(0, HEAD_BYTES);
  if (matches(latin1(window), picture)) return undefined;
  const direct = knownFrom(latin1(window), window);
  if (direct && !(isTagged && direct.holdsVideo)) return { container: direct, start: 0 };
  const zeros = window.findIndex((byte) => byte !== 0);
  const behindZeros = zeros > 0 ? knownFrom(latin1(window.subarray(zeros)), window.subarray(zeros)) : undefined;
  if (behindZeros?.holdsVideo === false) return { container: behindZeros, start: zeros };
  const found = searchStream(window);
  // ffmpeg may find frames further on.
  return found ?? (isTagged ? { container: mp3, start: 0 } : undefined);
}

/** The first position at which a stream begins. Program and transport streams may contain MPEG audio. */
function searchStream(window: Uint8Array): FoundContainer | undefined {
  const view = Buffer.from(window.buffer, window.byteOffset, window.byteLength);
  for (let start = view.indexOf(SYNC); start >= 0; start = view.indexOf(SYNC, start + 1)) {
    if (isTransportStream(window, start)) return { container: mpegTs, start };
  }
  const pack = view.indexOf(PACK, 0, "latin1");
  if (pack >= 0) return { container: mpegPs, start: pack };
  for (let start = view.indexOf(0xff); start >= 0; start = view.indexOf(0xff, start + 1)) {
    const name = mpegFramesAt(window, start);
    if (name) return { container: name === "mp3" ? mp3 : aac, start };
  }
  return undefined;
}

/** The start code of a pack of a program stream. */
const PACK = "\0\0\x01\xba";

/** The sync byte with which every packet of a transport stream begins. */
const SYNC = 0x47;

/** Lengths of packets: as broadcast, with a timestamp of four bytes before each (cameras), with error correction. */
const packetLengths = [188, 192, 204];

/** Sync bytes in a row that do not occur by chance. */
const PACKETS = 5;

function isTransportStream(window: Uint8Array, start: number): boolean {
  return packetLengths.some((length) => {
    const packets = Math.min(PACKETS, Math.ceil((window.length - start) / length));
    return packets >= 3 && Array.from({ length: packets }, (_, at) => window[start + at * length]).every(isSync);
  });
}

function isSync(byte: number | undefined): boolean {
  return byte === SYNC;
}

/** Length of an ID3v2 tag's header and of its optional footer, and of an APEv2 tag's header. */
const [ID3_HEADER, APE_HEADER] = [10, 32];

/**
 * The length of the tag with which `bytes` begin; 0 if they begin with none. Only its first 32 bytes are needed, as a
 * tag with a cover image may be large.
 */
export function tagLength(bytes: Uint8Array): number {
  const text = latin1(bytes.subarray(0, APE_HEADER));
  if (text.startsWith("ID3") && text.length >= ID3_HEADER) {
    const length = bytes.subarray(6, ID3_HEADER).reduce((sum, byte) => sum * 128 + (byte & 127), 0);
    const hasFooter = ((bytes[5] ?? 0) & 0x10) !== 0;
    return ID3_HEADER + length + (hasFooter ? ID3_HEADER : 0);
  }
  if (!text.startsWith("APETAGEX") || text.length < APE_HEADER) return 0;
  return APE_HEADER + Buffer.from(bytes.subarray(12, 16)).readUInt32LE();
}

function knownFrom(text: string, bytes: Uint8Array): Container | undefined {
  const found = known.find(({ signatures }) => signatures.some((signature) => matches(text, signature)));
  if (found) return found;
  // In the files of cameras, a timestamp precedes the first sync byte.
  if (isTransportStream(bytes, 0) || isTransportStream(bytes, 4)) return mpegTs;
  const frame = mpegFrame(bytes, 0);
  return frame && (frame.name === "mp3" ? mp3 : aac);
}

function matches(text: string, signature: Signature): boolean {
  return signature.every(([at, ...texts]) => texts.some((expected) => text.startsWith(expected, at)));
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, SIGNATURE_BYTES)).toString("latin1");
}
