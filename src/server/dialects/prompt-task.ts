import { EpalmError } from "../../core/errors.js";
import type { TaskName } from "../../index.js";
import { defaultCaptionPrompts, wordSets } from "./caption-prompts.js";

/** An entry of `chat.captionPrompts` that stands for the whole default table. */
const DEFAULT_ENTRY = "{default}";

/** Sentences are matched up to this length: matching time grows with a power of the number of words. */
const MAX_WORDS = 60;

/** In UTF-16 units: the parts of a prompt and of a sentence that decide. The rest is mostly detailed instructions. */
const MAX_PROMPT = 8000;
const MAX_SENTENCE = 600;

/** Tags, turns and headings of chat templates, and the wrappers of bare questions. */
const MARKUP =
  /<[^<>]{0,40}>|\[\/?inst\]|^[\s#*_>-]+|[#*_`~]+|\b(user|human|assistant|system|instruction|response|prompt|question|answer|task|q|a)\s*:/gim;

const SENTENCE_END = /([.!?;:\n"()[\]{}«»„“”]+)/;

/** Beginnings of a sentence that do not affect what it requests. They are removed as often as they occur. */
const OPENINGS = [
  /^(please|pls|kindly|hi|hello|hey|hi there|hello there|hey there|good (morning|day|evening)|thanks|thank you|ok|okay|so|now|then|and|also|well|just|simply|briefly|shortly|quickly|concisely|carefully|first|next|finally|only|dear \w+|sir|buddy|assistant|again|go ahead and)\b[ ,]*/,
  /^(could|can|would|will|may|might) (you|i|we) (please |kindly |just |maybe |possibly |briefly )*(?!(see|hear|observe|notice|perceive|make out)\b)(ask you to |have |get |mind |be able to |help me |help us |help )?/,
  /^(i|we) (want|need|would like|wish|would love|would appreciate it if|expect|ask) (you (to|could|can)|to (know|see|hear|understand|get|have)|for)?\b ?/,
  /^(i|we) (have|had|got) (a|one|another) (quick |short |simple )?question\b[ ,]*/,
  /^(i am|we are) (wondering|curious|asking|interested)( about| in| if you (could|can))?\b ?/,
  /^(your (task|job|goal|role|mission)|the (task|goal)) (is|will be) to /,
  /^(help (me|us)( to)?|try to|be so kind( as)? to|do me a favou?r and|feel free to|it would be great if you could|let us) /,
  /^(tell|let|show|give) (me|us)( know| see)?( in words| please| briefly| exactly| in short)* (?=(what|which|who|whose|where|when|why|how|if|whether|about|something|more|everything|a bit|a little)\b)/,
  /^(explain|say|state|determine|identify|list|report|note|recognise|recognize|see|know|clarify)( to (me|us))? (?=(what|which|who|whose|where|when|why|how|if|whether)\b)/,
  /^(as an?|using) [^,]*, ?/,
  /^can you (see|hear) (?=what\b)/,
  /^(given|considering|based on|looking at|from|regarding|for|about|in|on) (the|this|that|these|an?|my) [^,]*, ?/,
  /^(take a (close |careful |good )?look at|look( closely| carefully)? at|view|watch|listen( carefully)? to|inspect|examine|study|see|consider|check|use|here is|this is) (the|this|that|these|my|an?) [^,]*?(,| and( then)?) (?=\w)/,
];

/** Parts of a sentence about the form of the answer. */
const FORMS = [
  /,? ?\b(in|with|using|as|within) (only |just |exactly |at most |about |around |no more than |up to |not more than |fewer than |less than )?(an?|one|two|three|four|five|\d+|a few|a couple of|a single|simple|plain|short|complete|full|your own)([ -](or|to|and|single|simple|short|brief|concise|plain|complete|full|long|clear|of|two|three|four|\d+))*[ -](sentences?|words?|paragraphs?|lines?|bullet points?|phrases?|characters|english|tokens|terms|style|tone|manner|way)\b/g,
  /,? ?\b(at most|no more than|under|max|maximum|about|around|up to|less than|fewer than|not more than) \d+ (words?|characters?|tokens?|sentences?)( long)?\b/g,
  /,? ?\bin (english|as much detail as possible|(great |more |full |some |a lot of )?detail|brief|short|words|general)\b/g,
  /,? ?\b(please|thanks|thank you|for me|for us|if you can|if possible|briefly|concisely|shortly|accurately|exactly|precisely|in full|as text|right now|overall|basically|attached|provided|given|following|uploaded|enclosed|above|below)\b(?= |$|,)/g,
];

/** Sentences about the speaker's role, which request nothing. */
const PERSONA =
  /^(you|act|behave|imagine|pretend|assume|suppose|play the role|your name|i am|we are|roleplay|speak as)\b/;

/** Beginnings of a question. Without a question mark, `when` and `do` often begin other sentences. */
const QUESTION =
  /^(what|which|who|whose|whom|where|why|how|is|are|was|were|does|did|has|whether|do (you|they|we|i|the|any|these|those)|(when|have) (is|was|were|did|does|do|will|the|they|you|any)|can (you|one|we|i|the)|count|name|identify|find|locate|point|read|choose|pick|select|true or false|yes or no)\b/;

/** Words of Spanish, in which `describe` is an imperative too. */
const SPANISH = /\b(la|el|los|las|lo|esta|este|esto|esa|ese|una|que|imagen|imágenes|foto|detalle|qué|en)\b/;

const OTHER_SCRIPT = /(?!\p{Script=Latin})\p{L}/u;

/** Whether a prompt requests a caption or asks a question. */
export type PromptTask = (prompt: string) => TaskName;

/**
 * Builds the function that decides between the tasks. A prompt requests a caption if one of its sentences matches a
 * pattern and no other sentence is a question. Everything else, such as other languages, is a question for VQA.
 *
 * @param patterns `chat.captionPrompts`. Default: the table for English.
 * @throws invalid_option for an invalid pattern
 */
export function promptTask(patterns: readonly string[] = defaultCaptionPrompts): PromptTask {
  const all = patterns.flatMap((pattern) => (pattern === DEFAULT_ENTRY ? defaultCaptionPrompts : [pattern]));
  const table = all.map(patternExpression);
  const isOwn = patterns !== defaultCaptionPrompts;
  return (prompt) => {
    let isCaption = false;
    for (const { text, whole, isQuestion } of sentencesOf(prompt)) {
      const matches = (candidate: string) => table.some((expression) => expression.test(`${candidate} `));
      // Patterns of the operator may begin with words that the normalisation removes.
      if (isEnglish(text) && matches(text)) isCaption = true;
      else if (isOwn && matches(whole)) isCaption = true;
      else if (isQuestion && !PERSONA.test(text)) return "vqa";
    }
    return isCaption ? "caption" : "vqa";
  };
}

/** Compiles a pattern; see `caption-prompts.ts`. @throws invalid_option for an unknown set */
export function patternExpression(pattern: string): RegExp {
  const elements = pattern.toLowerCase().match(/\[[^\]]*\]|\([^)]*\)|\S+/g) ?? [];
  const source = elements.map((element) => {
    if (element === "*") return "(?:\\S+ )*";
    const choices = element.replace(/^[[(]|[\])]$/g, "").split("|");
    const group = `(?:${choices.map((words) => wordExpression(words, pattern)).join("|")}) `;
    return element.startsWith("[") ? `(?:${group})?` : group;
  });
  return new RegExp(`^${source.join("")}$`, "u");
}

function wordExpression(words: string, pattern: string): string {
  const parts = words.trim().split(/\{(\w+)\}/);
  return parts.map((part, at) => (at % 2 === 1 ? setExpression(part, pattern) : literal(part))).join("");
}

function literal(words: string): string {
  return words
    .replace(/[.+?^$\\{}()[\]/]/g, "\\$&")
    .replaceAll("*", "\\S*")
    .replace(/\s+/g, " ");
}

function setExpression(name: string, pattern: string): string {
  const words = Object.hasOwn(wordSets, name) ? wordSets[name] : undefined;
  if (words !== undefined) return `(?:${words})`;
  const names = Object.keys(wordSets).join("}, {");
  throw new EpalmError("invalid_option", `captionPrompts: '${pattern}': expected one of {${names}}, got {${name}}`);
}

interface Sentence {
  /** Without politeness, forms and punctuation. */
  readonly text: string;
  /** In lower case, without punctuation. */
  readonly whole: string;
  readonly isQuestion: boolean;
}

function sentencesOf(prompt: string): Sentence[] {
  const plain = prompt
    .slice(0, MAX_PROMPT)
    .normalize("NFKC")
    .toLowerCase()
    .replace(/[‘’]/g, "'")
    .replace(MARKUP, " \n ")
    .replace(/\b(what|who|where|how|that|it|here)'?s (?!\w+ing of)/g, "$1 is ")
    .replace(/\bi'd\b/g, "i would")
    .replace(/\b(\w+)n't\b/g, "$1 not")
    .replace(/\b([a-z]+)'re\b/g, "$1 are")
    .replace(/\balt-text\b/g, "alt text");
  const pieces = plain.split(SENTENCE_END);
  const sentences: Sentence[] = [];
  for (let at = 0; at < pieces.length; at += 2) {
    const sentence = (pieces[at] ?? "").slice(0, MAX_SENTENCE);
    const whole = wordsOf(sentence);
    const text = bare(sentence);
    if (whole === "") continue;
    const isQuestion = (pieces[at + 1] ?? "").includes("?") || QUESTION.test(text);
    sentences.push({ text, whole, isQuestion });
  }
  return sentences;
}

function bare(sentence: string): string {
  let text = sentence.replace(/\s+/g, " ").replace(/'/g, " ").trim();
  for (let before = ""; before !== text; ) {
    before = text;
    for (const opening of OPENINGS) text = text.replace(opening, "").trim();
    for (const form of FORMS) text = text.replace(form, "").trim();
  }
  return wordsOf(text);
}

function wordsOf(text: string): string {
  return text
    .replace(/[^\p{L}\p{N}\s-]/gu, " ")
    .trim()
    .split(/\s+/, MAX_WORDS)
    .join(" ");
}

function isEnglish(text: string): boolean {
  return !OTHER_SCRIPT.test(text) && !SPANISH.test(text);
}
