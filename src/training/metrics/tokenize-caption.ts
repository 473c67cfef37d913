/**
 * The usual tokenisation of captions: that of coco-caption's `tokenizer/ptbtokenizer.py`, which runs Stanford's
 * PTBTokenizer (CoreNLP 3.4.1, lower case) and drops punctuation. These are the Penn Treebank rules that captions
 * meet; those for web addresses, phone numbers and emoticons are left out. One difference is on
 * purpose: brackets are dropped. Their list of punctuation means to, but names them in upper case (`-LRB-`), and so
 * lets `-lrb-` pass.
 */

const WORD = String.raw`[\p{L}\p{N}][\p{L}\p{M}\p{N}]*`;

const TOKEN = new RegExp(
  [
    // Abbreviations keep their period: u.s., e.g., mr.
    String.raw`\p{L}(?:\.\p{L})+\.(?![\p{L}\p{N}])`,
    String.raw`(?:mr|mrs|ms|dr|prof|rev|sgt|capt|lt|gov|gen|st|ave|mt|jr|sr|inc|corp|ltd|vs|etc)\.(?![\p{L}\p{N}])`,
    // Words, with what may stand inside of them: t-shirt, o'clock, red/white, 1,000, 7:30, 3.5.
    String.raw`${WORD}(?:[-_/'.!?]${WORD}|[,:]\p{Nd}+)*`,
    // Clitics in text that is tokenised already.
    String.raw`'(?:[smd]|re|ve|ll)(?![\p{L}\p{N}])`,
    // Signs that are read, each alone: $, %, &, emoji.
    String.raw`[\p{S}#%&@*/\\_]`,
  ].join("|"),
  "gu",
);

/** Curly, reversed and backward single quotes, all of which PTBTokenizer takes for apostrophes. */
const APOSTROPHES = /[‘’‛ʼ´`]/gu;

/** Clitics are tokens of their own: do|n't, it|'s, should|n't|'ve. */
const CLITICS = /^(.+?)(n't)?('(?:[smd]|re|ve|ll))?$/u;

/** Words that are written as one and count as two. */
const CONTRACTED: ReadonlyMap<string, readonly string[]> = new Map([
  ["cannot", ["can", "not"]],
  ["gonna", ["gon", "na"]],
  ["gotta", ["got", "ta"]],
  ["wanna", ["wan", "na"]],
  ["gimme", ["gim", "me"]],
  ["lemme", ["lem", "me"]],
]);

/** Lower-case tokens without punctuation; letters of any script, canonically composed (NFC). */
export function tokenizeCaption(text: string): string[] {
  const plain = text.toLowerCase().normalize("NFC").replace(APOSTROPHES, "'");
  return Array.from(plain.matchAll(TOKEN), ([token]) => parts(token)).flat();
}

function parts(token: string): readonly string[] {
  const contracted = CONTRACTED.get(token);
  if (contracted) return contracted;
  const [, ...pieces] = CLITICS.exec(token) ?? [token, token];
  return pieces.filter((piece) => piece !== undefined);
}
