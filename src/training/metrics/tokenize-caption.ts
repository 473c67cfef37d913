/**
 * The standard tokenisation of captions, as in coco-caption's `tokenizer/ptbtokenizer.py`, which runs Stanford's
 * PTBTokenizer (CoreNLP 3.4.1, lower case) and drops punctuation. Only the Penn Treebank rules that matter for captions
 * are implemented, not those for web addresses, phone numbers and emoticons. One difference is deliberate: brackets are
 * dropped. coco-caption intends this too, but lists them in upper case (`-LRB-`), so that `-lrb-` remains.
 */

const WORD = String.raw`[\p{L}\p{N}][\p{L}\p{M}\p{N}]*`;

const TOKEN = new RegExp(
  [
    // Abbreviations keep their period: u.s., e.g., mr.
    String.raw`\p{L}(?:\.\p{L})+\.(?![\p{L}\p{N}])`,
    String.raw`(?:mr|mrs|ms|dr|prof|rev|sgt|capt|lt|gov|gen|st|ave|mt|jr|sr|inc|corp|ltd|vs|etc)\.(?![\p{L}\p{N}])`,
    // Words, with marks that may occur inside them: t-shirt, o'clock, red/white, 1,000, 7:30, 3.5.
    String.raw`${WORD}(?:[-_/'.!?]${WORD}|[,:]\p{Nd}+)*`,
    // Clitics in text that is already tokenised.
    String.raw`'(?:[smd]|re|ve|ll)(?![\p{L}\p{N}])`,
    // Symbols, each as its own token: $, %, &, emoji.
    String.raw`[\p{S}#%&@*/\\_]`,
  ].join("|"),
  "gu",
);

/** Curly, reversed and backward single quotes, all of which PTBTokenizer treats as apostrophes. */
const APOSTROPHES = /[‘’‛ʼ´`]/gu;

/** Clitics are separate tokens: do|n't, it|'s, should|n't|'ve. */
const CLITICS = /^(.+?)(n't)?('(?:[smd]|re|ve|ll))?$/u;

/** Words that are split into two tokens. */
const CONTRACTED: ReadonlyMap<string, readonly string[]> = new Map([
  ["cannot", ["can", "not"]],
  ["gonna", ["gon", "na"]],
  ["gotta", ["got", "ta"]],
  ["wanna", ["wan", "na"]],
  ["gimme", ["gim", "me"]],
  ["lemme", ["lem", "me"]],
]);

/** Lower-case tokens without punctuation, for any script, canonically composed (NFC). */
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
