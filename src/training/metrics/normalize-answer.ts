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

/** The marks that are taken away; an apostrophe, a colon, & and % stay. */
const MARKS = Array.from(`;/[]"{}()=+\\_-><@\`,?!`);

const COMMA_IN_NUMBER = /\p{Nd},\p{Nd}/u;
const PERIOD_NOT_BEFORE_DIGIT = /\.(?!\p{Nd})/gu;

/** As published: the flag `re.UNICODE` stands where the number of replacements is read, and its value is 32. */
const MOST_PERIODS = 32;

/** Lower case, without punctuation and articles, number words as digits. What is nothing but these becomes "". */
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
 * A mark becomes a blank if it only stands inside of words: "t-shirt" is "t shirt". If it touches a blank anywhere,
 * or if the answer has a number with a comma, all of its kind vanish.
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
