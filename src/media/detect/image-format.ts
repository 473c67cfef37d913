/** The supported formats. Files are recognised by their first bytes and not by their names. */
export const imageFormats = ["jpeg", "png", "webp", "gif", "tiff", "avif", "svg", "bmp", "heic"] as const;

export type ImageFormat = (typeof imageFormats)[number];

/** The usual extensions of files in these formats. */
export const imageExtensions: readonly string[] = [
  ".jpg",
  ".jpeg",
  ".png",
  ".webp",
  ".gif",
  ".tif",
  ".tiff",
  ".avif",
  ".svg",
  ".bmp",
  ".heic",
  ".heif",
];

/** The number of bytes in which `<svg` must begin; libvips has the same limit. */
const SVG_WINDOW = 1000;

const HEADER = 64;

/** Patterns for the first bytes, as Latin-1. */
const signatures: Readonly<Record<Exclude<ImageFormat, "svg" | "bmp">, RegExp>> = {
  jpeg: /^\xff\xd8\xff/,
  png: /^\x89PNG\r\n/,
  webp: /^RIFF.{4}WEBP/s,
  gif: /^GIF8[79]a/,
  tiff: /^(II[*+]\0|MM\0[*+])/,
  // The major brand or one of the compatible brands after it.
  avif: /^.{4}ftyp(.{4})*?avi[fs]/s,
  heic: /^.{4}ftyp(.{4})*?(hei[cxms]|hev[cx]|mif1|msf1)/s,
};

/** Lengths of the second header of a BMP, one for each version of the format. */
const bmpHeaders = [12, 16, 40, 52, 56, 64, 108, 124];

/** Detects the format from the first bytes; undefined if it is not supported. The rest of the file is not checked. */
export function imageFormatOf(bytes: Uint8Array): ImageFormat | undefined {
  const header = Buffer.from(bytes.subarray(0, HEADER)).toString("latin1");
  const binary = imageFormats.find((format) => {
    return format !== "svg" && format !== "bmp" && signatures[format].test(header);
  });
  return binary ?? (isBmp(header) ? "bmp" : isSvg(bytes) ? "svg" : undefined);
}

/** First bytes, as Latin-1, of formats that are not supported, but common enough that errors name them. */
const otherSignatures: readonly (readonly [name: string, ...starts: string[]])[] = [
  ["JPEG XL", "\xff\x0a", "\0\0\0\x0cJXL "],
  ["JPEG 2000", "\0\0\0\x0cjP  ", "\xff\x4f\xff\x51"],
  ["PDF", "%PDF-"],
  ["Photoshop", "8BPS"],
  ["ICO", "\0\0\x01\0", "\0\0\x02\0"],
  ["gzip", "\x1f\x8b"],
];

/** The name of a well-known format that is not supported. */
export function otherFormatOf(bytes: Uint8Array): string | undefined {
  const header = Buffer.from(bytes.subarray(0, HEADER)).toString("latin1");
  return otherSignatures.find(([, ...starts]) => starts.some((start) => header.startsWith(start)))?.[0];
}

function isBmp(header: string): boolean {
  return header.startsWith("BM") && bmpHeaders.includes(header.charCodeAt(14)) && header.startsWith("\0\0\0", 15);
}

/** Whether the first element is `<svg>`, preceded only by declarations, a document type and comments. */
function isSvg(bytes: Uint8Array): boolean {
  const text = new TextDecoder().decode(bytes.subarray(0, SVG_WINDOW)).replace(/<!--.*?-->/gs, "");
  const firstElement = /<(?![?!])(?:\w+:)?([\w-]*)/.exec(text);
  return /^\s*</.test(text) && firstElement?.[1] === "svg";
}
