import { Template } from "@huggingface/jinja";
import { EpalmError, messageOf } from "../core/errors.js";
import { memoized } from "../core/memoized.js";
import type { TemplatePart } from "../tokenizer/tokenizer.js";
import type { Manifest } from "./manifest.js";

/** A part of a message: text, or the place of the medium. */
export type ChatPart = { readonly text: string } | { readonly medium: true };

/** One turn of a conversation about a medium. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: readonly ChatPart[];
}

/** How a model writes conversations. */
export type ConversationSettings = NonNullable<Manifest["conversation"]>;

/** A conversation as the model's chat template writes it. */
export interface RenderedConversation {
  readonly parts: readonly TemplatePart[];
  /** Indices of the messages whose text the template left out. */
  readonly unused: readonly number[];
}

/** Characters for private use, which enclose the number of a text while the template is rendered. */
const [OPEN, CLOSE] = ["\u{F0000}", "\u{F0001}"];

const parsed = memoized((template: string) => new Template(template));

/**
 * Writes a conversation with the model's chat template. Texts are replaced by numbers while the template is rendered,
 * so that nothing in them becomes a special token; white space at their ends is left to the template.
 *
 * @param answered whether the last message is the answer; otherwise the beginning of an answer follows
 * @throws invalid_option, naming `messages`, if the template rejects the conversation
 */
export function renderConversation(
  settings: ConversationSettings,
  messages: readonly ChatMessage[],
  { answered = false }: { readonly answered?: boolean } = {},
): RenderedConversation {
  const texts: { readonly text: string; readonly message: number }[] = [];
  const numbered = messages.map(({ role, content }, message) => ({
    role,
    content: contentFor(settings, content, (given) => {
      const text = given.trim();
      if (text === "") return given;
      texts.push({ text, message });
      return given.replace(text, () => `${OPEN}${texts.length - 1}${CLOSE}`);
    }),
  }));
  const rendered = render(settings, numbered, !answered);
  const used = new Set<number>();
  let hasMedium = false;
  const parts = withoutStart(rendered, settings)
    .split(new RegExp(`${OPEN}(\\d+)${CLOSE}`, "u"))
    .flatMap((piece, at) => {
      if (at % 2 === 1) {
        const { text, message } = texts[Number(piece)] ?? { text: "", message: -1 };
        used.add(message);
        return [{ user: text }];
      }
      const literal = settings.imageToken === "" ? [piece] : piece.split(settings.imageToken);
      return literal.flatMap((text, index): TemplatePart[] => {
        const isPlace = index > 0 && !hasMedium;
        if (isPlace) hasMedium = true;
        return [...(isPlace ? mediumParts(settings.image) : []), ...(text === "" ? [] : [{ literal: text }])];
      });
    });
  const unused = messages.flatMap((_, index) =>
    texts.some(({ message }) => message === index) && !used.has(index) ? [index] : [],
  );
  return { parts, unused };
}

/** The content of a message in the form that the template takes. */
function contentFor(
  { content, imageToken }: ConversationSettings,
  parts: readonly ChatPart[],
  numbered: (text: string) => string,
): string | object[] {
  if (content === "text") {
    return parts.map((part) => ("medium" in part ? `${imageToken}\n` : numbered(part.text))).join("");
  }
  return parts.map((part) => ("medium" in part ? { type: "image" } : { type: "text", text: numbered(part.text) }));
}

function render(
  { template, startText = "", endText = "" }: ConversationSettings,
  messages: readonly object[],
  add_generation_prompt: boolean,
): string {
  try {
    return parsed(template).render({ messages, add_generation_prompt, bos_token: startText, eos_token: endText });
  } catch (error) {
    throw new EpalmError("invalid_option", `messages: the model's chat template rejects them: ${messageOf(error)}`);
  }
}

/** Without a start token that the tokenizer adds itself. */
function withoutStart(text: string, { startText, addsStart }: ConversationSettings): string {
  return addsStart && startText && text.startsWith(startText) ? text.slice(startText.length) : text;
}

/** The text around the visual tokens. */
function mediumParts(image: string): TemplatePart[] {
  const [before = "", after = ""] = image.split("{medium}");
  return [
    ...(before === "" ? [] : [{ literal: before }]),
    { medium: true },
    ...(after === "" ? [] : [{ literal: after }]),
  ];
}
