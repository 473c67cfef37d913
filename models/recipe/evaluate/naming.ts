import type { Prediction } from "../../../src/training/adapter/evaluate.js";
import { plural, readDrawableConcepts } from "../data/text/concepts.js";

/** Whether captions name what is there. */

/** A share of right answers, and of how many. */
export interface Share {
  readonly right: number;
  readonly all: number;
}

/** Of captions of one kind of object, such as `two red apples on a blue background`. */
export interface Naming {
  /** Those that name the object rightly, however many they say there are. */
  readonly name: Share;
  /** Those that say how many there are, too. */
  readonly nameAndNumber: Share;
}

/** Others than those of one kind of object are left out: they name several, and where each is. */
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

/** All before the ground; undefined for what is no such caption. */
function subjectOf(caption: string): string | undefined {
  return /^(.*) on an? [\w ]* background$/.exec(caption)?.[1];
}

/** By how one or more of them are called. */
function conceptNames(): ReadonlyMap<string, string> {
  const names = readDrawableConcepts().map(({ name }) => name);
  return new Map(names.flatMap((name) => [[plural(name), name] as const, [name, name] as const]));
}
