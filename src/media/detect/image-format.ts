/** The formats that are read; all others are refused by what their first bytes say, not by their names. */
export const imageFormats = ["jpeg", "png", "webp", "gif", "tiff", "avif", "svg"] as const;

export type ImageFormat = (typeof imageFormats)[number];

/** What files of these formats are mostly called. */
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
];

/** Where a document may at last begin with `<svg`, in bytes: as far as libvips itself looks. */
const SVG_WINDOW = 1000;

const HEADER = 64;

/** Each tells from the first bytes, as Latin-1. */
const signatures: Readonly<Record<Exclude<ImageFormat, "svg">, RegExp>> = {
  jpeg: /^\xff\xd8\xff/,
  png: /^\x89PNG\r\n/,
  webp: /^RIFF.{4}WEBP/s,
  gif: /^GIF8[79]a/,
  tiff: /^(II[*+]\0|MM\0[*+])/,
  // The brand, or one of the compatible brands behind it.
  avif: /^.{4}ftyp(.{4})*?avi[fs]/s,
};

/** The format that the first bytes announce, or undefined. Says nothing about whether the rest is whole. */
export function imageFormatOf(bytes: Uint8Array): ImageFormat | undefined {
  const header = Buffer.from(bytes.subarray(0, HEADER)).toString("latin1");
  const binary = imageFormats.find((format) => format !== "svg" && signatures[format].test(header));
  return binary ?? (isSvg(bytes) ? "svg" : undefined);
}

/** Whether the first element is `<svg>`, behind nothing but declarations, a document type and comments. */
function isSvg(bytes: Uint8Array): boolean {
  const text = new TextDecoder().decode(bytes.subarray(0, SVG_WINDOW)).replace(/<!--.*?-->/gs, "");
  const firstElement = /<(?![?!])(?:\w+:)?([\w-]*)/.exec(text);
  return /^\s*</.test(text) && firstElement?.[1] === "svg";
}
