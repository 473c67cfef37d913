import { createRequire } from "node:module";
import { type Kind, kinds } from "./kinds.js";

/** A thing that several icon sets draw, with its name, its kind and its icons. */
export interface Concept {
  /** Lower case, singular: "red apple". */
  readonly name: string;
  /** Related words from emojibase: "fruit", "ripe". */
  readonly tags: readonly string[];
  readonly kind: Kind;
  /** Name of the icon in the set of each style. */
  readonly icons: ReadonlyMap<Style, string>;
}

/** Each style is one icon set. This one is held out of all training. */
export const HELD_OUT = "twemoji";
export const trainingStyles = [
  "noto",
  "noto-v1",
  "openmoji",
  "fluent-emoji",
  "fluent-emoji-flat",
  "emojione",
  "emojione-v1",
  "fxemoji",
] as const;
export type Style = typeof HELD_OUT | (typeof trainingStyles)[number];

/** Concepts with icons in fewer training styles are left out, because there is too little to learn them from. */
const MIN_TRAINING_STYLES = 2;

/** Images show only concepts that every style draws and whose names have at most this many words. */
const MAX_IMAGE_WORDS = 2;

/** Kinds whose concepts differ in details that an image of the encoder's size does not show. */
const ALIKE: ReadonlySet<string> = new Set([
  "face",
  "cat face",
  "monkey face",
  "person",
  "hand",
  "shape",
  "feeling",
  "zodiac sign",
  "warning",
  "map",
  "view",
  "heart",
  "money",
  "phone",
  "fantasy creature",
]);

/**
 * Concepts that resemble another concept of the images, or that show a place, a sign or many things. They are listed
 * one by one because the model card refers to this list.
 */
const LOOK_ALIKES: ReadonlySet<string> = new Set(
  `
    ogre, alien monster, eye, horse face, cow face, poodle, ox, water buffalo, boar, ram, rat, chipmunk,
    rooster, hatching chick, bird, tropical fish, bug, white flower, rosette, blossom, hibiscus, herb, melon,
    rice cracker, cooked rice, oden, tropical drink, desert, national park, camping, mount fuji,
    office building, hospital, bank, hotel, love hotel, convenience store, school, department store, wedding,
    railway car, train, metro, light rail, station, monorail, mountain railway, tram car, oncoming bus,
    trolleybus, minibus, bus stop, oncoming taxi, oncoming automobile, articulated lorry, suspension railway,
    mountain cableway, aerial tramway, new moon, shooting star, milky way, fog, tanabata tree,
    admission tickets, military medal, rugby football, green book, blue book, orange book, notebook, ledger,
    e mail, incoming envelope, inbox tray, spiral notepad, card index, linked paperclips, round pushpin,
    file folder, straight ruler, old key, film projector, film frames, running shirt, black nib
  `
    .trim()
    .split(/,\s+/),
);

/** Variants by gender and hour differ in details of a few pixels. */
const LEFT_OUT = /^(man|woman|men|women)\b|o.clock$|-thirty$|facing right$|^flag:|skin tone|regional indicator/;

/** An icon set of @iconify-json: SVG fragments by name. */
export interface IconSet {
  readonly icons: Readonly<Record<string, Icon>>;
  readonly aliases?: Readonly<Record<string, { readonly parent: string }>>;
  readonly width?: number;
  readonly height?: number;
}

export interface Icon {
  readonly body: string;
  readonly width?: number;
  readonly height?: number;
  readonly left?: number;
  readonly top?: number;
}

interface EmojibaseEntry {
  readonly label: string;
  readonly tags?: readonly string[];
  readonly subgroup?: number;
}

interface EmojibaseMessages {
  readonly subgroups: readonly { readonly key: string; readonly order: number }[];
}

const require = createRequire(import.meta.url);
const sets = new Map<Style, IconSet>();
const styles: readonly Style[] = [HELD_OUT, ...trainingStyles];

export function iconSet(style: Style): IconSet {
  const known = sets.get(style) ?? (require(`@iconify-json/${style}/icons.json`) as IconSet);
  sets.set(style, known);
  return known;
}

/** All concepts in the order of emojibase, which is always the same. */
export function readConcepts(): Concept[] {
  const entries = require("emojibase-data/en/data.json") as readonly EmojibaseEntry[];
  const { subgroups } = require("emojibase-data/en/messages.json") as EmojibaseMessages;
  const keys = new Map(subgroups.map(({ key, order }) => [order, key]));
  const concepts = entries.flatMap(({ label, tags = [], subgroup = -1 }): Concept[] => {
    const kind = kinds[keys.get(subgroup) ?? ""];
    if (!kind || LEFT_OUT.test(label)) return [];
    const icons = new Map(
      styles.flatMap((style) => {
        const icon = iconNameOf(style, label);
        return icon === undefined ? [] : [[style, icon] as const];
      }),
    );
    const drawn = trainingStyles.filter((style) => icons.has(style)).length;
    return drawn < MIN_TRAINING_STYLES ? [] : [{ name: plainName(label), tags, kind, icons }];
  });
  return Array.from(new Map(concepts.map((concept) => [concept.name, concept])).values());
}

/** The concepts of images: well-known things that can be distinguished. Text mentions all concepts. */
export function readDrawableConcepts(): Concept[] {
  return readConcepts().filter(({ name, kind, icons }) => {
    return (
      styles.every((style) => icons.has(style)) &&
      name.split(" ").length <= MAX_IMAGE_WORDS &&
      !ALIKE.has(kind.name) &&
      !LOOK_ALIKES.has(name)
    );
  });
}

/** Icon sets spell names differently: `red-apple`, `redapple`. */
function iconNameOf(style: Style, label: string): string | undefined {
  const { icons, aliases = {} } = iconSet(style);
  const dashed = plainName(label).replace(/[^a-z0-9]+/g, "-");
  for (const name of [dashed, dashed.replaceAll("-", "")]) {
    if (icons[name]) return name;
    const parent = aliases[name]?.parent;
    if (parent !== undefined && icons[parent]) return parent;
  }
  return undefined;
}

/** Lower case, without accents and most punctuation: "piñata" -> "pinata", "men’s room" -> "mens room". */
function plainName(label: string): string {
  return label
    .normalize("NFD")
    .toLowerCase()
    .replace(/[\u0300-\u036f.’'“”!,:]/g, "")
    .replaceAll("&", "and")
    .replace(/[-\s]+/g, " ")
    .trim();
}

/** "a red apple", "an axe", "chopsticks". */
export function withArticle(name: string): string {
  if (isPlural(name)) return name;
  return `${/^([aeio]|u(?!ni))/.test(name) ? "an" : "a"} ${name}`;
}

/** "red apples", "faces with tears of joy". */
export function plural(name: string): string {
  if (isPlural(name)) return name;
  const [, head = name, rest = ""] =
    /^(.+?)( (?:with|of|in|on|without|blowing|holding|showing|from) .*)$/.exec(name) ?? [];
  return `${pluralWord(head)}${rest}`;
}

function isPlural(name: string): boolean {
  return /(?<![siu])s$/.test(name);
}

const irregular: readonly (readonly [RegExp, string])[] = [
  [/\bperson$/, "people"],
  [/\bchild$/, "children"],
  [/man$/, "men"],
  [/\bfoot$/, "feet"],
  [/\btooth$/, "teeth"],
  [/\bmouse$/, "mice"],
  [/\bgoose$/, "geese"],
  [/\bleaf$/, "leaves"],
  [/\bwolf$/, "wolves"],
  [/\b(fish|sheep|deer|clothing|money|mail|weather)$/, "$1"],
  [/(s|x|z|ch|sh)$/, "$1es"],
  [/([^aeiou])y$/, "$1ies"],
];

function pluralWord(word: string): string {
  const rule = irregular.find(([pattern]) => pattern.test(word));
  return rule ? word.replace(rule[0], rule[1]) : `${word}s`;
}
