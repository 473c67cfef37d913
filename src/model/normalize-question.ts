import type { QuestionNormalization } from "./manifest.js";

/** A word in lower case and whether a comma follows it, which the questions of some models need. */
interface Word {
  readonly text: string;
  readonly hasComma: boolean;
}

/**
 * Rewrites a question in the one form that a model knows: in lower case, without small talk and without punctuation
 * except commas, in the spelling of the manifest. A question that consists of small talk only keeps its words.
 *
 * @param question not empty, at most `MAX_QUESTION_LENGTH` characters
 */
export function normalizeQuestion(question: string, normalization: QuestionNormalization): string {
  const { spelling = {}, smallTalk = [], directWordOrder = false } = normalization;
  const all = wordsOf(question);
  const spelled = all.flatMap((word) => respell(word, spelling));
  const core = withoutSmallTalk(
    spelled,
    smallTalk.map((phrase) => phrase.split(" ")),
  );
  const words = [core, spelled, all].find((some) => some.length > 0);
  if (!words) return question;
  const text = words.map((word, index) => (word.hasComma && index < words.length - 1 ? `${word.text},` : word.text));
  const asked = text.join(" ");
  return directWordOrder ? asDirectQuestion(asked) : asked;
}

/** Splits at white space; punctuation at both ends of a word is removed, and so are words of punctuation only. */
function wordsOf(text: string): Word[] {
  const pieces = text
    .normalize("NFKC")
    .replace(/[‘’]/g, "'")
    .toLowerCase()
    // Punctuation without a space after it also separates words: `hi!what is this`.
    .replace(/[!?;…]/g, " ")
    .split(/\s+/);
  return pieces.flatMap((piece) => {
    const [, word] = /^[^\p{L}\p{N}]*(.*?)[^\p{L}\p{N}]*$/u.exec(piece) ?? [];
    return word ? [{ text: word, hasComma: piece.endsWith(",") }] : [];
  });
}

function respell(word: Word, spelling: Readonly<Record<string, string>>): Word[] {
  const other = Object.hasOwn(spelling, word.text) ? spelling[word.text] : undefined;
  if (other === undefined) return [word];
  const texts = other === "" ? [] : other.split(" ");
  return texts.map((text, index) => ({ text, hasComma: word.hasComma && index === texts.length - 1 }));
}

/** Removes phrases at both ends as often as they occur, the longest first. */
function withoutSmallTalk(words: readonly Word[], phrases: readonly (readonly string[])[]): readonly Word[] {
  const longestFirst = phrases.toSorted((a, b) => b.length - a.length);
  const matches = (from: number, phrase: readonly string[]) =>
    from >= 0 && phrase.every((text, index) => words[from + index]?.text === text);
  let start = 0;
  let end = words.length;
  for (;;) {
    const first = longestFirst.find((phrase) => start + phrase.length <= end && matches(start, phrase));
    if (first) start += first.length;
    const last = longestFirst.find((phrase) => end - phrase.length >= start && matches(end - phrase.length, phrase));
    if (last) end -= last.length;
    if (!first && !last) return words.slice(start, end);
  }
}

const VERB = "is|are|was|were";
const SUBJECT = "the|a|an|this|that|these|those|it|they|there";

/** `what color the sky is` -> `what color is the sky`; `whether there is a cat` -> `is there a cat`. */
function asDirectQuestion(question: string): string {
  const [, asked, subject, verb] =
    new RegExp(`^((?:what|which|who|where|how)\\b.*?) ((?:${SUBJECT})\\b.*) (${VERB})$`).exec(question) ?? [];
  if (asked !== undefined && !new RegExp(` (${VERB})( |$)`).test(` ${asked} `)) return `${asked} ${verb} ${subject}`;
  const [, whether, does, rest] = new RegExp(`^(?:if|whether) (.+?) (${VERB}) (.+)$`).exec(question) ?? [];
  return whether === undefined ? question : `${does} ${whether} ${rest}`;
}
