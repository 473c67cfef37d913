import type { Random } from "../../../../src/core/random.js";
import { type ColorName, colorNames, pick } from "../images/scene.js";
import type { Concept } from "../text/concepts.js";

/**
 * A clip before it is drawn: its event and the colour of its background. Captions, questions and labels are derived
 * from it.
 */
export interface ClipScene {
  readonly background: ColorName;
  readonly event: ClipEvent;
}

export type ClipEvent =
  | { readonly action: "moves"; readonly thing: Concept; readonly direction: Heading; readonly pace: Pace }
  | { readonly action: "grows" | "shrinks" | "turns" | "stays"; readonly thing: Concept }
  /** One object is visible from the start; the other appears later. */
  | { readonly action: "appears"; readonly first: Concept; readonly second: Concept };

export const headings = ["left", "right", "up", "down"] as const;
export type Heading = (typeof headings)[number];

export const paces = ["slow", "fast"] as const;
export type Pace = (typeof paces)[number];

const actions = ["grows", "shrinks", "turns", "stays"] as const;

export type Action = ClipEvent["action"];

const MOVES_SHARE = 0.45;
const APPEARS_SHARE = 0.2;

/** `training`: clips without any held-out combination; `held-out`: clips with one. */
export type ClipCombinations = "training" | "held-out";

export function randomClipScene(
  random: Random,
  concepts: readonly Concept[],
  combinations: ClipCombinations,
): ClipScene {
  for (;;) {
    const scene = { background: pick(random, colorNames), event: randomEvent(random, concepts) };
    if (isHeldOut(scene) === (combinations === "held-out")) return scene;
  }
}

function randomEvent(random: Random, concepts: readonly Concept[]): ClipEvent {
  const share = random();
  const thing = pick(random, concepts);
  if (share < MOVES_SHARE) {
    return { action: "moves", thing, direction: pick(random, headings), pace: pick(random, paces) };
  }
  if (share >= MOVES_SHARE + APPEARS_SHARE) return { action: pick(random, actions), thing };
  const others = concepts.filter((concept) => concept !== thing);
  return { action: "appears", first: thing, second: pick(random, others) };
}

/** Each action is held out on about a fifth of the backgrounds; which ones depends on the action. */
const HELD_OUT_PART = 5;

/** Whether training never sees the combination of background and action. */
function isHeldOut({ background, event }: ClipScene): boolean {
  const happens =
    event.action === "moves"
      ? headings.indexOf(event.direction) + headings.length * paces.indexOf(event.pace)
      : 8 + ["appears", ...actions].indexOf(event.action);
  return (colorNames.indexOf(background) + happens) % HELD_OUT_PART === 0;
}
