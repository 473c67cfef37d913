import { z } from "zod";
import type { TokenizerJson } from "./tokenizer-files.js";

/** The bytes that each token adds to a text, by id. Tokens that add none, such as special tokens, are missing. */
export function tokenBytes({ model, added_tokens, decoder }: TokenizerJson): ReadonlyMap<number, Uint8Array> {
  const read = decoderTypes(decoder).includes("ByteLevel") ? byteLevel : sentencePiece;
  const all = new Map(Object.entries(model.vocab).map(([content, id]) => [id, read(content)]));
  for (const { content, id, special } of added_tokens) {
    if (special) all.delete(id);
    else all.set(id, Buffer.from(content));
  }
  return all;
}

/** The types of a decoder and its parts. */
function decoderTypes(decoder: unknown): string[] {
  const { data } = z.looseObject({ type: z.string(), decoders: z.array(z.unknown()).default([]) }).safeParse(decoder);
  return data ? [data.type, ...data.decoders.flatMap(decoderTypes)] : [];
}

/** SentencePiece writes a space as `▁`, and a byte that no token contains as `<0xFF>`. */
function sentencePiece(content: string): Uint8Array {
  const [, byte] = /^<0x([\dA-F]{2})>$/.exec(content) ?? [];
  return byte === undefined ? Buffer.from(content.replaceAll("▁", " ")) : Uint8Array.of(Number.parseInt(byte, 16));
}

function byteLevel(content: string): Uint8Array {
  return Uint8Array.from(Array.from(content), (char) => bytesByCharacter.get(char) ?? 0);
}

/** Number of bytes that are printable. */
const PRINTABLE = 188;

/**
 * The characters by which GPT-2 writes bytes (`bytes_to_unicode` in its encoder.py): printable ones by themselves, and
 * the others by the characters from U+0100.
 */
const bytesByCharacter: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 256 }, (_, byte) => byte)
    .sort((a, b) => Number(isPrintable(b)) - Number(isPrintable(a)) || a - b)
    .map((byte, index) => [String.fromCharCode(isPrintable(byte) ? byte : 0x100 + index - PRINTABLE), byte]),
);

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
}
