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

interface Signature extends Container {
  /** Tells from the first bytes, as Latin-1. */
  readonly head: RegExp;
}

const sound = (name: string, head: RegExp, demuxer = name): Signature => {
  return { name, demuxer, head, holdsVideo: false };
};
const video = (name: string, head: RegExp, demuxer = name): Signature => {
  return { name, demuxer, head, holdsVideo: true };
};

/** MPEG layer II or III, or AAC: sync word, then no bit rate and no sampling rate that does not exist. */
const mpegAudio = /^\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x10-\xef][^]/;
const adts = /^\xff[\xf0\xf1\xf8\xf9]/;

const signatures: readonly Signature[] = [
  sound("wav", /^(RIFF|RF64|BW64)[^]{4}WAVE/),
  sound("aiff", /^FORM[^]{4}AIF[FC]/),
  sound("au", /^\.snd/),
  sound("caf", /^caff\0\x01/),
  sound("flac", /^fLaC/),
  sound("amr", /^#!AMR/),
  video("ogg", /^OggS/),
  // Apple's older files begin with another box than `ftyp`.
  video("mp4", /^[^]{4}(ftyp|moov|mdat|wide|free|skip)/, "mov"),
  video("matroska", /^\x1aE\xdf\xa3/),
  video("avi", /^RIFF[^]{4}AVI /),
  video("flv", /^FLV\x01/),
  video("asf", /^\x30\x26\xb2\x75\x8e\x66\xcf\x11/),
  video("mpeg", /^\0\0\x01\xba/),
  // A sync byte per packet; those of cameras have a time of four bytes in front.
  video("mpegts", /^(G[^]{187}G[^]{187}G|[^]{4}G[^]{191}G[^]{191}G)/),
  sound("aac", adts),
  sound("mp3", mpegAudio),
];

/** What errors call what is read. */
export const containerNames: readonly string[] = [...signatures.map(({ name }) => name), "gif", "webp"];

/** In bytes; as much of a medium as `containerOf` looks at. */
export const HEAD_BYTES = 64 * 1024;

/** Of the head, what signatures look at. */
const SIGNATURE_BYTES = 512;

/** An ID3v2 tag stands before the sound that it tells of: 10 bytes, the last four its length, 7 bits each. */
const ID3 = /^ID3[\x02-\x04][^]{2}([\0-\x7f]{4})/;

/** The container that the first bytes announce, or undefined. Says nothing about whether the rest is whole. */
export function containerOf(bytes: Uint8Array): Container | undefined {
  const text = latin1(bytes);
  const tag = ID3.exec(text)?.[1];
  if (tag === undefined) return signatureOf(text);
  const length = Array.from(tag, (character) => character.charCodeAt(0)).reduce((sum, n) => sum * 128 + n, 0);
  const behind = signatureOf(latin1(bytes.subarray(10 + length)));
  // Players look for MPEG sound some way behind the tag, and so does ffmpeg.
  return behind !== undefined && !behind.holdsVideo ? behind : signatures.find(({ name }) => name === "mp3");
}

function signatureOf(text: string): Container | undefined {
  return signatures.find(({ head, name }) => head.test(text) && !(name === "mp4" && isPicture(text)));
}

/** AVIF and HEIC have the boxes of MP4. */
function isPicture(text: string): boolean {
  return /^[^]{4}ftyp(avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)/.test(text);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, SIGNATURE_BYTES)).toString("latin1");
}
