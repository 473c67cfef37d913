import type { Random } from "../../../../src/core/random.js";
import { type Arranged, arrange } from "../images/draw-scene.js";
import { type Place, pick } from "../images/scene.js";
import type { Concept } from "../text/concepts.js";
import type { ClipEvent, ClipScene, Heading, Pace } from "./clip-scene.js";

/** An object of a clip and its position over time. */
export interface Actor {
  readonly concept: Concept;
  /**
   * @param time from 0, the first frame, to 1, the last
   * @returns undefined if the object is not visible yet
   */
  at(time: number): Arranged | undefined;
}

/** Minimum and maximum, as fractions of the image's side except for degrees and times. */
type Range = readonly [number, number];

/** Distances that objects move within a clip, far enough apart that no pace is ambiguous. */
const ways: Readonly<Record<Pace, Range>> = { slow: [0.14, 0.2], fast: [0.48, 0.6] };

/** Sizes of moving objects, small enough for the longest distance. */
const MOVING_SIZES: Range = [0.3, 0.4];
/** Sizes of growing and shrinking objects at their smallest and at their largest. */
const SMALL_SIZES: Range = [0.22, 0.3];
const LARGE_SIZES: Range = [0.6, 0.8];
/**
 * Sizes of turning and still objects. Still objects can have the size of almost any other, so that a single frame does
 * not reveal the action.
 */
const TURNING_SIZES: Range = [0.34, 0.65];
const STAYING_SIZES: Range = [0.26, 0.75];

/** Degrees by which an object turns in either direction: less than a full turn, which would end as it began. */
const TURNS: Range = [160, 300];
/** Maximum tilt in degrees in either direction. */
const MOST_LEANING = 15;

/** Time at which a second object appears: the frames that an encoder takes show the clip before and after it. */
const ENTRANCES: Range = [0.36, 0.64];
const pairs: readonly (readonly [Place, Place])[] = [
  ["left", "right"],
  ["right", "left"],
  ["top", "bottom"],
  ["bottom", "top"],
];

const directions: Readonly<Record<Heading, readonly [x: number, y: number]>> = {
  left: [-1, 0],
  right: [1, 0],
  up: [0, -1],
  down: [0, 1],
};

/** The objects of a clip on images of `side` pixels, in the order in which they appear. All stay inside the image. */
export function arrangeClip({ background, event }: ClipScene, side: number, random: Random): Actor[] {
  if (event.action !== "appears") {
    const path = pathOf(event, random);
    return [{ concept: event.thing, at: (time) => inPixels(path(time), side) }];
  }
  const [near, far] = pick(random, pairs);
  const objects = [
    { concept: event.first, place: near },
    { concept: event.second, place: far },
  ];
  const plain = { color: background, texture: "plain" } as const;
  const arranged = arrange({ background: plain, objects }, side, random);
  const entrance = between(random, ENTRANCES);
  return [
    { concept: event.first, at: () => arranged[0] },
    { concept: event.second, at: (time) => (time < entrance ? undefined : arranged[1]) },
  ];
}

type OneThing = Exclude<ClipEvent, { readonly action: "appears" }>;

/** Centre and size of an object over time, as fractions of the side. */
type Path = (time: number) => Arranged;

function pathOf(event: OneThing, random: Random): Path {
  const degrees = MOST_LEANING * (2 * random() - 1);
  switch (event.action) {
    case "moves":
      return movingPath(event.direction, event.pace, degrees, random);
    case "grows":
    case "shrinks": {
      const [small, large] = [between(random, SMALL_SIZES), between(random, LARGE_SIZES)];
      const [from, to] = event.action === "grows" ? [small, large] : [large, small];
      const place = placeFor(large, random);
      return (time) => ({ ...place, degrees, size: from + (to - from) * time });
    }
    case "turns": {
      const size = between(random, TURNING_SIZES);
      const turn = between(random, TURNS) * (random() < 0.5 ? -1 : 1);
      const place = placeFor(size, random);
      return (time) => ({ ...place, size, degrees: degrees + turn * time });
    }
    case "stays": {
      const size = between(random, STAYING_SIZES);
      const still = { ...placeFor(size, random), size, degrees };
      return () => still;
    }
    default:
      return event satisfies never;
  }
}

function movingPath(heading: Heading, pace: Pace, degrees: number, random: Random): Path {
  const size = between(random, MOVING_SIZES);
  const way = between(random, ways[pace]);
  const [across, down] = directions[heading];
  const { x, y } = placeFor(size, random);
  const start = between(random, [size / 2, 1 - size / 2 - way]);
  const along = (direction: number, time: number) => start + way * (direction > 0 ? time : 1 - time);
  return (time) => ({
    x: across === 0 ? x : along(across, time),
    y: down === 0 ? y : along(down, time),
    size,
    degrees,
  });
}

/** A random centre for which an object of this size is inside the image. */
function placeFor(size: number, random: Random): { x: number; y: number } {
  const room: Range = [size / 2, 1 - size / 2];
  return { x: between(random, room), y: between(random, room) };
}

function inPixels({ x, y, size, degrees }: Arranged, side: number): Arranged {
  return { x: side * x, y: side * y, size: side * size, degrees };
}

function between(random: Random, [least, most]: Range): number {
  return least + (most - least) * random();
}
