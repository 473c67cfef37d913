/**
 * Properties of a group of concepts, in words that questions can use. A group is one of emojibase's subgroups or
 * several.
 */
export interface Kind {
  /** Singular, without article: "fruit". */
  readonly name: string;
  /** The more general kind: "food". */
  readonly broader: string;
  readonly edible: boolean;
  readonly alive: boolean;
}

const kind = (name: string, broader: string, is: { edible?: boolean; alive?: boolean } = {}): Kind => ({
  name,
  broader,
  edible: is.edible ?? false,
  alive: is.alive ?? false,
});

const face = kind("face", "sign");
const gesture = kind("hand", "body part");
const person = kind("person", "living thing", { alive: true });
const animal = (name: string) => kind(name, "animal", { alive: true });
const food = (name: string) => kind(name, "food", { edible: true });
const thing = (name: string) => kind(name, "object");
const place = (name: string) => kind(name, "place");

/**
 * Kinds by the key of emojibase's subgroup. Other subgroups are left out: flags of countries, keys, letters, arrows.
 */
export const kinds: Readonly<Record<string, Kind>> = {
  "face-smiling": face,
  "face-affection": face,
  "face-tongue": face,
  "face-hand": face,
  "face-neutral-skeptical": face,
  "face-sleepy": face,
  "face-unwell": face,
  "face-hat": face,
  "face-glasses": face,
  "face-concerned": face,
  "face-negative": face,
  "face-costume": kind("creature", "fantasy"),
  "cat-face": kind("cat face", "animal face"),
  "monkey-face": kind("monkey face", "animal face"),
  heart: kind("heart", "sign"),
  emotion: kind("feeling", "sign"),
  "hand-fingers-open": gesture,
  "hand-fingers-partial": gesture,
  "hand-single-finger": gesture,
  "hand-fingers-closed": gesture,
  hands: gesture,
  "hand-prop": gesture,
  "body-parts": kind("body part", "part of a body"),
  person,
  "person-gesture": person,
  "person-role": person,
  "person-fantasy": kind("fantasy creature", "fantasy"),
  "person-activity": person,
  "person-sport": person,
  "person-resting": person,
  "animal-mammal": animal("mammal"),
  "animal-bird": animal("bird"),
  "animal-amphibian": animal("amphibian"),
  "animal-reptile": animal("reptile"),
  "animal-marine": animal("sea animal"),
  "animal-bug": animal("bug"),
  "plant-flower": kind("flower", "plant", { alive: true }),
  "plant-other": kind("plant", "living thing", { alive: true }),
  "food-fruit": food("fruit"),
  "food-vegetable": food("vegetable"),
  "food-prepared": food("meal"),
  "food-asian": food("asian meal"),
  "food-marine": food("sweet"),
  drink: kind("drink", "food"),
  dishware: thing("dishware"),
  "place-map": kind("map", "place"),
  "place-geographic": place("landscape"),
  "place-building": kind("building", "place"),
  "place-religious": kind("building", "place"),
  "place-other": place("view"),
  "transport-ground": kind("land vehicle", "vehicle"),
  "transport-water": kind("boat", "vehicle"),
  "transport-air": kind("aircraft", "vehicle"),
  hotel: thing("travel item"),
  time: thing("clock"),
  "sky-weather": kind("weather", "sky"),
  event: thing("decoration"),
  "award-medal": thing("award"),
  sport: thing("sports item"),
  game: thing("toy"),
  "arts-crafts": thing("art item"),
  clothing: kind("clothing", "object"),
  sound: thing("sound device"),
  music: thing("music item"),
  "musical-instrument": kind("musical instrument", "object"),
  phone: thing("phone"),
  computer: thing("computer part"),
  "light-video": thing("light or camera"),
  "book-paper": thing("book or paper"),
  money: thing("money"),
  mail: thing("mail"),
  writing: thing("writing tool"),
  office: thing("office item"),
  lock: thing("lock or key"),
  tool: kind("tool", "object"),
  science: thing("science item"),
  medical: thing("medical item"),
  household: thing("household item"),
  "other-object": thing("odd object"),
  warning: kind("warning", "sign"),
  zodiac: kind("zodiac sign", "sign"),
  geometric: kind("shape", "sign"),
};
