import { isDeepStrictEqual } from "node:util";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { EpalmError, messageOf, unexpected } from "../core/errors.js";
import { tokenBytes } from "./token-bytes.js";
import { type AddedToken, readTokenizerFiles, type TokenizerFiles, type TokenizerJson } from "./tokenizer-files.js";

/** In UTF-16 units; more than prompts need. The worst case, an unbroken run of emoji, is encoded in a second. */
const MAX_TEXT_LENGTH = 100_000;

/**
 * A part of a prompt: text, or the place of the medium's visual tokens, across which no token spans. Only a `literal`,
 * which comes from the template, may contain special tokens such as `</a>`; in a `user` part, the same characters are
 * plain text. Added tokens that are not marked as special are also plain text.
 */
export type TemplatePart = TextPart | { readonly medium: true };

type TextPart = { readonly literal: string } | { readonly user: string };

export interface EncodeOptions {
  /** Whether to add the tokens of the tokenizer's post-processor, usually a start token. Default: true. */
  readonly addSpecialTokens?: boolean;
}

export interface Tokenizer {
  /** Encodes trusted text; special tokens in it become their ids. */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * Encodes the parts as one text. The result equals that of `encode` for the joined text, unless a user part contains
   * the characters of a special token: a user part never produces a special token.
   *
   * @throws too_large above 100,000 characters
   */
  encodeTemplate(parts: readonly TemplatePart[], options?: EncodeOptions): number[];
  /** Decodes ids to text. Special tokens and unknown ids are omitted; spaces are kept as they are. */
  decode(tokens: readonly number[]): string;
  /** The bytes that a token adds to a text; undefined for unknown ids and special tokens. */
  bytesOf(token: number): Uint8Array | undefined;
  /** The id of the token with exactly this content, or undefined. Byte-level BPE writes a space as `Ġ`. */
  idOf(content: string): number | undefined;
  /** The highest id plus 1. */
  readonly vocabularySize: number;
}

/**
 * Opens the `tokenizer/` folder of a model folder: BPE, in the format of `tokenizer.json`.
 *
 * @throws invalid_model if a file is missing or damaged; unsupported_architecture for unsupported parts of a tokenizer
 */
export function loadTokenizer(folder: string): Tokenizer {
  return createTokenizer(readTokenizerFiles(folder), folder);
}

/**
 * Creates a tokenizer from files in memory; `where` names them in errors. It uses the tokenizers of transformers.js, a
 * package of their own, which loads in a hundredth of a second; transformers.js itself takes a third of a second.
 *
 * @throws unsupported_architecture for unsupported parts of a tokenizer
 */
export function createTokenizer({ tokenizerJson, tokenizerConfig }: TokenizerFiles, where: string): Tokenizer {
  const plain = withoutSpecialTokens(tokenizerJson);
  const inner = { ...plain, pre_tokenizer: inside(plain.pre_tokenizer) };
  try {
    const first = new HuggingFaceTokenizer(plain, tokenizerConfig);
    const later = isDeepStrictEqual(plain.pre_tokenizer, inner.pre_tokenizer)
      ? first
      : new HuggingFaceTokenizer(inner, tokenizerConfig);
    return new BpeTokenizer(tokenizerJson, first, later, frameOf(tokenizerJson.post_processor, where));
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("unsupported_architecture", `${where}: tokenizer.json: ${messageOf(error)}`);
  }
}

/** Decodes a growing text token by token. It emits only text that later tokens cannot change. */
export class TextStream {
  readonly #tokenizer: Pick<Tokenizer, "decode">;
  /** Begins with the tokens emitted last, because decoders treat the first token of a text specially. */
  #window: number[] = [];
  /** How many tokens (`#givenTokens`) and characters (`#given`) of the window were emitted. */
  #givenTokens = 0;
  #given = 0;

  constructor(tokenizer: Pick<Tokenizer, "decode">) {
    this.#tokenizer = tokenizer;
  }

  /** Adds a token and returns the text that is now final; an empty string while a character's bytes are incomplete. */
  push(token: number): string {
    this.#window.push(token);
    const text = this.#tokenizer.decode(this.#window);
    // The bytes of an incomplete character are decoded to one U+FFFD at the end.
    const certain = text.endsWith("\uFFFD") ? text.slice(0, -1) : text;
    const fresh = certain.slice(this.#given);
    this.#given += fresh.length;
    if (fresh !== "" && certain === text) this.#advance();
    return fresh;
  }

  /** The text that `push` would return for a token, which is not added. */
  peek(token: number): string {
    const text = this.#tokenizer.decode([...this.#window, token]);
    return (text.endsWith("\uFFFD") ? text.slice(0, -1) : text).slice(this.#given);
  }

  /** Returns the remaining text, with incomplete characters as U+FFFD, and resets the stream. */
  end(): string {
    const rest = this.#tokenizer.decode(this.#window).slice(this.#given);
    this.#window = [];
    this.#givenTokens = 0;
    this.#given = 0;
    return rest;
  }

  #advance(): void {
    this.#window = this.#window.slice(this.#givenTokens);
    this.#givenTokens = this.#window.length;
    this.#given = this.#tokenizer.decode(this.#window).length;
  }
}

function textIn(part: TextPart): string {
  return "user" in part ? part.user : part.literal;
}

/** The place of a medium, as a section without tokens. */
const MEDIUM = { content: "", id: undefined, lstrip: false, rstrip: false } as const;

/** Plain text, a special token, or the place of a medium. */
type Section = string | AddedToken | typeof MEDIUM;

/** The tokens that the post-processor puts before and after a text. */
interface Frame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/**
 * Splits prompts at their special tokens and passes only the text in between to the library, so that special tokens
 * are recognised only in literal parts.
 */
class BpeTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly #first: HuggingFaceTokenizer;
  readonly #later: HuggingFaceTokenizer;
  readonly #frame: Frame;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #known: ReadonlySet<number>;
  readonly #special: ReadonlyMap<string, AddedToken>;
  readonly #specialIds: ReadonlySet<number>;
  readonly #anySpecial: RegExp | undefined;
  readonly #json: TokenizerJson;
  #bytes: ReadonlyMap<number, Uint8Array> | undefined;

  constructor(json: TokenizerJson, first: HuggingFaceTokenizer, later: HuggingFaceTokenizer, frame: Frame) {
    const special = json.added_tokens.filter((token) => token.special);
    this.#json = json;
    this.#first = first;
    this.#later = later;
    this.#frame = frame;
    this.#ids = new Map([
      ...Object.entries(json.model.vocab),
      ...json.added_tokens.map(({ content, id }) => [content, id] as const),
    ]);
    this.#known = new Set(this.#ids.values());
    this.#special = new Map(special.map((token) => [token.content, token]));
    this.#specialIds = new Set(special.map(({ id }) => id));
    this.#anySpecial = anyOf([...this.#special.keys()]);
    this.vocabularySize = [...this.#known].reduce((highest, id) => Math.max(highest, id), -1) + 1;
  }

  encode(text: string, options?: EncodeOptions): number[] {
    return this.encodeTemplate([{ literal: text }], options);
  }

  encodeTemplate(parts: readonly TemplatePart[], { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const length = parts.reduce((sum, part) => sum + ("medium" in part ? "" : textIn(part)).length, 0);
    if (length > MAX_TEXT_LENGTH) {
      throw unexpected("too_large", "text", `at most ${MAX_TEXT_LENGTH} characters`, length);
    }
    const ids = this.#sections(parts).flatMap((section, index) =>
      typeof section === "string" ? this.#encodePlain(section, index === 0) : (section.id ?? []),
    );
    return addSpecialTokens ? [...this.#frame.before, ...ids, ...this.#frame.after] : ids;
  }

  decode(tokens: readonly number[]): string {
    const visible = tokens.filter((token) => this.#known.has(token) && !this.#specialIds.has(token));
    if (visible.length === 0) return "";
    return this.#first.decode(visible, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  bytesOf(token: number): Uint8Array | undefined {
    this.#bytes ??= tokenBytes(this.#json);
    return this.#bytes.get(token);
  }

  idOf(content: string): number | undefined {
    return this.#ids.get(content);
  }

  /** Splits parts into plain text and special tokens. Adjacent text is joined, because words may span parts. */
  #sections(parts: readonly TemplatePart[]): Section[] {
    const pieces = parts.flatMap((part) => {
      if ("medium" in part) return [MEDIUM];
      return "user" in part ? [part.user] : this.#piecesOf(part.literal);
    });
    const sections: Section[] = [];
    for (const piece of pieces) {
      const last = sections.at(-1);
      const joined = typeof piece === "string" && typeof last === "string";
      if (joined) sections.splice(-1, 1, last + piece);
      else sections.push(piece);
    }
    return sections
      .map((section, index) => stripped(section, sections[index - 1], sections[index + 1]))
      .filter((section) => section !== "");
  }

  #piecesOf(literal: string): Section[] {
    if (this.#anySpecial === undefined) return [literal];
    return literal.split(this.#anySpecial).map((piece) => this.#special.get(piece) ?? piece);
  }

  /** If plain text ever merges into a special token, the token is omitted. */
  #encodePlain(text: string, isFirst: boolean): number[] {
    const tokenizer = isFirst ? this.#first : this.#later;
    const { ids }: { readonly ids: readonly number[] } = tokenizer.encode(text, { add_special_tokens: false });
    return ids.filter((id) => !this.#specialIds.has(id));
  }
}

/** Removes the white space that an adjacent special token includes (`lstrip`, `rstrip`). */
function stripped(section: Section, before: Section | undefined, after: Section | undefined): Section {
  if (typeof section !== "string") return section;
  const start = typeof before === "object" && before.rstrip ? section.trimStart() : section;
  return typeof after === "object" && after.lstrip ? start.trimEnd() : start;
}

/** Matches the longest of the strings and captures it, so that `split` keeps it. */
function anyOf(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined;
  const longestFirst = [...texts].sort((a, b) => b.length - a.length);
  return new RegExp(`(${longestFirst.map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|")})`);
}

/** The same tokenizer, but special tokens are not recognised in text; their ids can still be decoded. */
function withoutSpecialTokens(json: TokenizerJson): TokenizerJson {
  const special = json.added_tokens.filter((token) => token.special);
  const vocab = {
    ...json.model.vocab,
    ...Object.fromEntries(special.map(({ content, id }) => [content, id])),
  };
  const { unk_token } = json.model;
  return {
    ...json,
    post_processor: null,
    added_tokens: json.added_tokens.filter((token) => !token.special),
    // GPT-2's file declares an empty string as the unknown token, for which the library returns undefined ids.
    model: {
      ...json.model,
      vocab,
      unk_token: unk_token && Object.hasOwn(vocab, unk_token) ? unk_token : null,
    },
  };
}

/** The pre-tokenizer for text after a special token: SentencePiece may prepend `▁` only at the start of a text. */
function inside(preTokenizer: unknown): unknown {
  const step = z.looseObject({ prepend_scheme: z.literal("first") }).safeParse(preTokenizer);
  if (step.success) return { ...step.data, prepend_scheme: "never" };
  const steps = z.looseObject({ pretokenizers: z.array(z.unknown()) }).safeParse(preTokenizer);
  return steps.success ? { ...steps.data, pretokenizers: steps.data.pretokenizers.map(inside) } : preTokenizer;
}

const noFrame: Frame = { before: [], after: [] };

const postProcessor = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ByteLevel") }),
  z.object({ type: z.literal("Sequence"), processors: z.array(z.unknown()) }),
  z.object({
    type: z.literal("TemplateProcessing"),
    single: z.array(
      z.union([
        z.object({ SpecialToken: z.object({ id: z.string() }) }),
        z.object({ Sequence: z.object({ id: z.literal("A") }) }),
      ]),
    ),
    special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int().min(0)) })),
  }),
]);

function frameOf(json: unknown, where: string): Frame {
  if (json === null) return noFrame;
  const { data } = postProcessor.safeParse(json);
  switch (data?.type) {
    case "ByteLevel":
      return noFrame;
    case "Sequence":
      return data.processors.map((processor) => frameOf(processor, where)).reduce(around, noFrame);
    case "TemplateProcessing": {
      const text = data.single.findIndex((item) => "Sequence" in item);
      const ids = (items: typeof data.single) =>
        items.flatMap((item) => ("SpecialToken" in item ? (data.special_tokens[item.SpecialToken.id]?.ids ?? []) : []));
      return { before: ids(data.single.slice(0, text)), after: ids(data.single.slice(text)) };
    }
    case undefined:
      throw new EpalmError(
        "unsupported_architecture",
        `${where}: tokenizer.json: 'post_processor': expected null, ByteLevel, TemplateProcessing or a Sequence of these`,
      );
  }
}

function around(inner: Frame, outer: Frame): Frame {
  return { before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] };
}
