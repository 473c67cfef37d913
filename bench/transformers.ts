import { join } from "node:path";
import { median } from "../src/cli/measure/median.js";
import { at } from "../src/core/at.js";
import { randomStreams } from "../src/core/random.js";
import { type EncodedMedium, load, type Model } from "../src/pipeline.js";
import type { Context, Measurement } from "./measurement.js";
import { injectionOf, modelFolder, modelTitle } from "./models.js";
import { PYTHON_VARIABLE, PythonPeer } from "./python-peer.js";
import type { Table } from "./table.js";

const ROUNDS = 7;
const NEW_TOKENS = 16;
const BEAMS = 3;
const BATCH = 8;
/** A caption follows the start token only. */
const PROMPT_TOKENS = 1;
const PIXELS = 3 * 224 * 224;

/** Pieces of work, each with its own line in the Python script. */
const pieces = ["greedy", "beams", "batch", "first"] as const;
type Piece = (typeof pieces)[number];

const precisions = ["fp32", "int8"] as const;

export const transformers: Measurement = {
  summary: `captions beside transformers on torch, ${modelTitle("opt")}, if ${PYTHON_VARIABLE} names a Python that has both`,
  async run(context) {
    const python = process.env[PYTHON_VARIABLE];
    if (python === undefined) {
      context.say(`transformers: skipped, because ${PYTHON_VARIABLE} is not set`);
      return [];
    }
    const peer = await startPeer(context, python);
    const rounds = context.rounds ?? ROUNDS;
    const ours = new Map<string, Model>();
    try {
      const sides: Side[] = [sideOf("transformers", async (piece) => Number(await peer.ask(piece)))];
      for (const precision of precisions) {
        const model = await load(await modelFolder(context, "opt", precision));
        ours.set(precision, model);
        sides.push(sideOf(precision, await workOf(model)));
      }
      context.say(`measuring: transformers, ${rounds} rounds`);
      await measure(sides, rounds);
      return [tableOf(sides, rounds)];
    } finally {
      await Promise.all([peer.close(), ...Array.from(ours.values(), (model) => model.close())]);
    }
  },
};

/** A program that does the pieces of work, and their durations in milliseconds. */
interface Side {
  readonly name: string;
  readonly work: (piece: Piece) => Promise<number>;
  readonly times: Readonly<Record<Piece, number[]>>;
}

function sideOf(name: string, work: Side["work"]): Side {
  return { name, work, times: { greedy: [], beams: [], batch: [], first: [] } };
}

function startPeer({ machine }: Context, python: string): Promise<PythonPeer> {
  const { injectedStates: states, startLayer: start, endLayer: end } = injectionOf("opt");
  return PythonPeer.start(python, join("bench", "transformers_caption.py"), {
    ...{ states, start, end, threads: machine.cores, tokens: PROMPT_TOKENS },
    ...{ batch: BATCH, beams: BEAMS, newTokens: NEW_TOKENS },
  });
}

/** The same pieces of work in epalm. Both sides get images as pixels. */
async function workOf(model: Model): Promise<Side["work"]> {
  const [random = Math.random] = randomStreams(0, 1);
  const images = Array.from({ length: BATCH }, () => ({
    pixels: Float32Array.from({ length: PIXELS }, () => 2 * random() - 1),
  }));
  const known = await Promise.all(images.map((image) => model.encode(image)));
  const options = (tokens: number, beams = 1) => ({ beams, maxNewTokens: tokens, minNewTokens: tokens });
  const all = (tokens: number) => Promise.all(known.map((medium: EncodedMedium) => medium.caption(options(tokens))));
  const work: Readonly<Record<Piece, () => Promise<unknown>>> = {
    greedy: () => model.caption(at(images, 0), options(NEW_TOKENS)),
    beams: () => model.caption(at(images, 0), options(NEW_TOKENS, BEAMS)),
    batch: () => all(NEW_TOKENS),
    first: () => all(1),
  };
  return async (piece) => {
    const started = performance.now();
    await work[piece]();
    return performance.now() - started;
  };
}

/** In turn, so that a drift of the machine affects all sides. The first round warms up and does not count. */
async function measure(sides: readonly Side[], rounds: number): Promise<void> {
  for (let round = 0; round <= rounds; round++) {
    for (const piece of pieces) {
      for (const { work, times } of sides) {
        const milliseconds = await work(piece);
        if (round > 0) times[piece].push(milliseconds);
      }
    }
  }
}

/** Milliseconds per round of what a row describes. */
const rowsOf: readonly (readonly [what: string, milliseconds: (times: Side["times"]) => number])[] = [
  ["caption, greedy", ({ greedy }) => median(greedy)],
  [`caption, ${BEAMS} beams`, ({ beams }) => median(beams)],
  [`a token, batch ${BATCH}`, ({ batch, first }) => (median(batch) - median(first)) / (NEW_TOKENS - 1)],
];

function tableOf([peer, ...ours]: readonly Side[], rounds: number): Table {
  return {
    title: `transformers: ${modelTitle("opt")}, ${NEW_TOKENS} new tokens, ms`,
    columns: [
      { key: "what", title: "" },
      { key: "transformers", title: "transformers", digits: 1 },
      ...precisions.flatMap((name) => [
        { key: name, title: name, digits: 1 },
        { key: `${name}Ratio`, title: "x", digits: 2, better: "higher" } as const,
      ]),
    ],
    rows: rowsOf.map(([what, milliseconds]) => {
      const theirs = peer ? milliseconds(peer.times) : Number.NaN;
      const cells = ours.flatMap(({ name, times }) => {
        const own = milliseconds(times);
        return [
          [name, own],
          [`${name}Ratio`, theirs / own],
        ] as const;
      });
      return { what, transformers: theirs, ...Object.fromEntries(cells) };
    }),
    notes: [
      `x: epalm's speed divided by that of transformers on torch in fp32; medians over ${rounds} rounds in turn`,
      "images are given as pixels; a token of a batch: the states are known, and the first token does not count",
    ],
  };
}
