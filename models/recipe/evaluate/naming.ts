import type { Prediction } from "../../../src/training/adapter/evaluate.js";
import { plural, readDrawableConcepts } from "../data/text/concepts.js";

/** Measures whether captions name the objects of images correctly. */

/** A number of right answers, and of all answers. */
export interface Share {
  readonly right: number;
  readonly all: number;
}

/** Scores of captions of one kind of object, such as `two red apples on a blue background`. */
export interface Naming {
  /** Captions that name the object correctly, whatever number they state. */
  readonly name: Share;
  /** Captions that also state the right number. */
  readonly nameAndNumber: Share;
}

/** Leaves out captions of several kinds of objects, because they contain several names and places. */
export function namingOf(predictions: readonly Pick<Prediction, "prediction" | "references">[]): Naming {
  const single = predictions.filter(({ references: [reference = ""] }) => !/ (left of|above|and) /.test(reference));
  const shareOf = (read: (caption: string) => string | undefined): Share => ({
    right: single.filter(({ prediction, references: [reference = ""] }) => {
      const truth = read(reference);
      return truth !== undefined && read(prediction) === truth;
    }).length,
    all: single.length,
  });
  const nameOf = conceptNames();
  return {
    name: shareOf((caption) => nameOf.get(subjectOf(caption)?.replace(/^(an?|two|three|four) /, "") ?? "")),
    nameAndNumber: shareOf(subjectOf),
  };
}

/** Everything before the background; undefined if the caption has another form. */
function subjectOf(caption: string): string | undefined {
  return /^(.*) on an? [\w ]* background$/.exec(caption)?.[1];
}

/** Names of concepts by their singular and plural forms. */
function conceptNames(): ReadonlyMap<string, string> {
  const names = readDrawableConcepts().map(({ name }) => name);
  return new Map(names.flatMap((name) => [[plural(name), name] as const, [name, name] as const]));
}
