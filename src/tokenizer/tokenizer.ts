import { isDeepStrictEqual } from "node:util";
import type { PreTrainedTokenizer } from "@xenova/transformers";
import { z } from "zod";
import { EpalmError, messageOf, unexpected } from "../core/errors.js";
import { type AddedToken, readTokenizerFiles, type TokenizerFiles, type TokenizerJson } from "./tokenizer-files.js";

/** In UTF-16 units; more than prompts need, and still encoded in a second at worst (emoji without a break). */
const MAX_TEXT_LENGTH = 100_000;

/**
 * A piece of a prompt. Only a `literal` (ours) may name special tokens, such as `</a>`; in what a `user` wrote, the
 * same characters are plain text. (Added tokens that a tokenizer does not mark as special count as text.)
 */
export type TemplatePart = { readonly literal: string } | { readonly user: string };

export interface EncodeOptions {
  /** Adds what the tokenizer's post-processor adds, mostly a start token. Default: true. */
  readonly addSpecialTokens?: boolean;
}

export interface Tokenizer {
  /** Text of ours -> ids; special tokens written in it become their ids. */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * The parts as one text -> ids: exactly those of `encode` for the joined text, as long as no user text contains a
   * special token. None can come from a user part. Throws `too_large` above 100,000 characters.
   */
  encodeTemplate(parts: readonly TemplatePart[], options?: EncodeOptions): number[];
  /** Ids -> text, without special tokens and without ids that stand for nothing; spaces stay as they are. */
  decode(tokens: readonly number[]): string;
  /** The id of the token with exactly this content (for byte-level BPE, a space reads `Ġ`), or undefined. */
  idOf(content: string): number | undefined;
  /** The highest id + 1. */
  readonly vocabularySize: number;
}

/**
 * Opens the `tokenizer/` folder of a model folder: BPE, in the format of `tokenizer.json`. Throws `invalid_model`
 * (missing or damaged files), `unsupported_architecture` (parts of a tokenizer that are not supported).
 */
export async function loadTokenizer(folder: string): Promise<Tokenizer> {
  return createTokenizer(readTokenizerFiles(folder), folder);
}

/**
 * A tokenizer of files in memory; `where` names them in errors. transformers.js gets these objects and nothing to
 * look for: its loaders, caches and downloads are never reached.
 */
export async function createTokenizer(
  { tokenizerJson, tokenizerConfig }: TokenizerFiles,
  where: string,
): Promise<Tokenizer> {
  // Imported late: the package takes a third of a second, which no command without a model should pay.
  const { PreTrainedTokenizer } = await import("@xenova/transformers");
  const plain = withoutSpecialTokens(tokenizerJson);
  const inner = { ...plain, pre_tokenizer: inside(plain.pre_tokenizer) };
  try {
    const first = new PreTrainedTokenizer(plain, tokenizerConfig);
    const later = isDeepStrictEqual(plain.pre_tokenizer, inner.pre_tokenizer)
      ? first
      : new PreTrainedTokenizer(inner, tokenizerConfig);
    return new BpeTokenizer(tokenizerJson, first, later, frameOf(tokenizerJson.post_processor, where));
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("unsupported_architecture", `${where}: tokenizer.json: ${messageOf(error)}`);
  }
}

/** Text that grows token by token; only what later tokens can no longer change is given out. */
export class TextStream {
  readonly #tokenizer: Pick<Tokenizer, "decode">;
  /** Begins with the tokens given out last: decoders treat the first token of a text in a way of its own. */
  #window: number[] = [];
  /** How many of the window's tokens, and of its text's characters, were given out. */
  #givenTokens = 0;
  #given = 0;

  constructor(tokenizer: Pick<Tokenizer, "decode">) {
    this.#tokenizer = tokenizer;
  }

  /** The text that is certain with this token; often none, while a character's bytes are incomplete. */
  push(token: number): string {
    this.#window.push(token);
    const text = this.#tokenizer.decode(this.#window);
    // Bytes of an unfinished character read as one U+FFFD at the end.
    const certain = text.endsWith("\uFFFD") ? text.slice(0, -1) : text;
    const fresh = certain.slice(this.#given);
    this.#given += fresh.length;
    if (fresh !== "" && certain === text) this.#advance();
    return fresh;
  }

  /** What is left, incomplete characters as U+FFFD; the stream then begins anew. */
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

/** Plain text, or a special token. */
type Section = string | AddedToken;

/** What the post-processor puts before and after a text. */
interface Frame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/**
 * Splits prompts at their special tokens itself and gives transformers.js only the text in between, so that it knows
 * where each character came from.
 */
class BpeTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly #first: PreTrainedTokenizer;
  readonly #later: PreTrainedTokenizer;
  readonly #frame: Frame;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #known: ReadonlySet<number>;
  readonly #special: ReadonlyMap<string, AddedToken>;
  readonly #specialIds: ReadonlySet<number>;
  readonly #anySpecial: RegExp | undefined;

  constructor(json: TokenizerJson, first: PreTrainedTokenizer, later: PreTrainedTokenizer, frame: Frame) {
    const special = json.added_tokens.filter((token) => token.special);
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
    const length = parts.reduce((sum, part) => sum + ("user" in part ? part.user : part.literal).length, 0);
    if (length > MAX_TEXT_LENGTH) {
      throw unexpected("too_large", "text", `at most ${MAX_TEXT_LENGTH} characters`, length);
    }
    const ids = this.#sections(parts).flatMap((section, index) =>
      typeof section === "string" ? this.#encodePlain(section, index === 0) : [section.id],
    );
    return addSpecialTokens ? [...this.#frame.before, ...ids, ...this.#frame.after] : ids;
  }

  decode(tokens: readonly number[]): string {
    const visible = tokens.filter((token) => this.#known.has(token) && !this.#specialIds.has(token));
    if (visible.length === 0) return "";
    return this.#first.decode(visible, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  idOf(content: string): number | undefined {
    return this.#ids.get(content);
  }

  /** Plain text and special tokens in turn; text of neighbouring parts is joined, as words may span them. */
  #sections(parts: readonly TemplatePart[]): Section[] {
    const pieces = parts.flatMap((part) => ("user" in part ? [part.user] : this.#piecesOf(part.literal)));
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

  /** Should plain text ever merge into a special token, that token is left out. */
  #encodePlain(text: string, isFirst: boolean): number[] {
    const tokenizer = isFirst ? this.#first : this.#later;
    return tokenizer.encode(text, { add_special_tokens: false }).filter((id) => !this.#specialIds.has(id));
  }
}

/** Some special tokens take the white space beside them along. */
function stripped(section: Section, before: Section | undefined, after: Section | undefined): Section {
  if (typeof section !== "string") return section;
  const start = typeof before === "object" && before.rstrip ? section.trimStart() : section;
  return typeof after === "object" && after.lstrip ? start.trimEnd() : start;
}

/** Matches the longest of the texts, and captures it, so that `split` keeps it. */
function anyOf(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined;
  const longestFirst = [...texts].sort((a, b) => b.length - a.length);
  return new RegExp(`(${longestFirst.map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")).join("|")})`);
}

/** The tokenizer that recognises no special token in text, though it knows all of them as ids. */
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
    // GPT-2's file names an empty text as unknown token; transformers.js then yields undefined ids.
    model: {
      ...json.model,
      vocab,
      unk_token: unk_token && Object.hasOwn(vocab, unk_token) ? unk_token : null,
    },
  };
}

/** The pre-tokenizer for text behind a special token: SentencePiece's `▁` may be meant for the start alone. */
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
        `${where}: tokenizer.json: 'post_processor': expected null, ByteLevel, TemplateProcessing or a Sequence of them`,
      );
  }
}

function around(inner: Frame, outer: Frame): Frame {
  return { before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] };
}
