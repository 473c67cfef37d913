import { CONTRACTIONS } from "./contractions.js";

/**
 * The normalisation of answers in the VQA v2 evaluation: `processPunctuation` and `processDigitArticle` of
 * `vqaEval.py` (https://github.com/GT-Vision-Lab/VQA).
 */

const NUMBERS: ReadonlyMap<string, string> = new Map([
  ["none", "0"],
  ...["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"].map(
    (word, value) => [word, String(value)] as const,
  ),
]);

const ARTICLES: ReadonlySet<string> = new Set(["a", "an", "the"]);

/** The punctuation marks to remove; apostrophes, colons, & and % are kept. */
const MARKS = Array.from(`;/[]"{}()=+\\_-><@\`,?!`);

const COMMA_IN_NUMBER = /\p{Nd},\p{Nd}/u;
const PERIOD_NOT_BEFORE_DIGIT = /\.(?!\p{Nd})/gu;

/** As published: `re.UNICODE`, whose value is 32, is passed where `re.sub` expects the number of replacements. */
const MOST_PERIODS = 32;

/** Lower case, without punctuation and articles, with number words as digits; the result may be "". */
export function normalizeAnswer(text: string): string {
  return withoutPunctuation(text.replace(/[\n\t]/g, " ").trim())
    .toLowerCase()
    .split(/\s+/u)
    .map((word) => NUMBERS.get(word) ?? word)
    .filter((word) => word !== "" && !ARTICLES.has(word))
    .map((word) => CONTRACTIONS.get(word) ?? word)
    .join(" ");
}

/**
 * A mark that only occurs inside words becomes a space: "t-shirt" becomes "t shirt". If the mark is next to a space
 * anywhere, or if the answer has a number with a comma, all its occurrences are deleted.
 */
function withoutPunctuation(text: string): string {
  const commaInNumber = COMMA_IN_NUMBER.test(text);
  const replaced = MARKS.reduce((current, mark) => {
    const vanishes = commaInNumber || text.includes(`${mark} `) || text.includes(` ${mark}`);
    return current.replaceAll(mark, vanishes ? "" : " ");
  }, text);
  let periods = 0;
  return replaced.replace(PERIOD_NOT_BEFORE_DIGIT, (period) => (++periods > MOST_PERIODS ? period : ""));
}
