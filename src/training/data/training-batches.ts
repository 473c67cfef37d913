import { type Random, randomStreams, shuffled } from "../../core/random.js";
import { elementCount, type Tensor } from "../../tensor/tensor.js";
import type { BatchSource, TrainingBatch } from "../adapter/train-adapter.js";
import type { EncoderStates, View } from "./encoder-states.js";
import type { TrainingExample, TrainingText } from "./training-texts.js";

/** Number of batches within which texts are sorted by length: little padding remains, and the order stays random. */
const BUCKET_BATCHES = 50;

export interface TrainingBatchOptions {
  readonly batchSize: number;
  readonly seed: number;
  /** Number of augmented views of each medium; 0: the unchanged medium, or new augmentations. */
  readonly augmentations: number;
  /** Whether every item of every epoch gets an augmentation of its own. Default: false. */
  readonly drawn?: boolean | undefined;
  /** Zeros replace the encoder states. */
  readonly textOnly: boolean;
  /** Shape of the encoder states of a medium: [depth, dv], or [D, N, dv] of patch states. */
  readonly statesShape: readonly number[];
}

/** One row of a batch. */
interface Item {
  readonly view: View;
  readonly text: TrainingText;
}

/**
 * The batches of a run; each depends only on its epoch and index. Each epoch contains every caption once, and every
 * question once with a random one of its answers, so that answers given by several people are more likely.
 */
export class TrainingBatches implements BatchSource {
  readonly batchesPerEpoch: number;
  readonly #examples: readonly TrainingExample[];
  readonly #states: EncoderStates;
  readonly #options: TrainingBatchOptions;
  #planned: { readonly epoch: number; readonly batches: readonly (readonly Item[])[] } | undefined;

  constructor(examples: readonly TrainingExample[], states: EncoderStates, options: TrainingBatchOptions) {
    this.#examples = examples;
    this.#states = states;
    this.#options = options;
    const rows = examples.reduce((sum, { example, texts }) => sum + (example.kind === "vqa" ? 1 : texts.length), 0);
    this.batchesPerEpoch = Math.ceil(rows / options.batchSize);
  }

  async batch(epoch: number, index: number): Promise<TrainingBatch> {
    if (this.#planned?.epoch !== epoch) this.#planned = { epoch, batches: this.#plan(epoch) };
    return this.#assemble(this.#planned.batches[index] ?? []);
  }

  #plan(epoch: number): Item[][] {
    const { batchSize, seed, drawn = false } = this.#options;
    const [random = Math.random] = randomStreams(seed * 1_000_003 + epoch, 1);
    const ordered = this.#examples.flatMap((example) => this.#items(example, random));
    const items = shuffled(drawn ? ordered.map((item, index) => withDraw(item, epoch, index)) : ordered, random);
    const batches: Item[][] = [];
    for (let start = 0; start < items.length; start += BUCKET_BATCHES * batchSize) {
      const bucket = items.slice(start, start + BUCKET_BATCHES * batchSize);
      bucket.sort((a, b) => a.text.tokens.length - b.text.tokens.length);
      for (let at = 0; at < bucket.length; at += batchSize) batches.push(bucket.slice(at, at + batchSize));
    }
    return shuffled(batches, random);
  }

  #items({ example, texts }: TrainingExample, random: Random): Item[] {
    const { augmentations } = this.#options;
    const item = (text: TrainingText): Item => ({
      view: {
        path: example.media.path,
        augmentation: augmentations === 0 ? 0 : 1 + Math.floor(random() * augmentations),
      },
      text,
    });
    if (example.kind === "caption") return texts.map(item);
    const chosen = texts[Math.floor(random() * texts.length)];
    return chosen ? [item(chosen)] : [];
  }

  async #assemble(items: readonly Item[]): Promise<TrainingBatch> {
    const { statesShape } = this.#options;
    const size = elementCount(statesShape);
    const states = new Float32Array(items.length * size);
    if (!this.#options.textOnly) {
      const known = await this.#states.readAll(items.map(({ view }) => view));
      for (const [row, own] of known.entries()) states.set(own, row * size);
    }
    const length = Math.max(0, ...items.map(({ text }) => text.tokens.length));
    const ids = new BigInt64Array(items.length * length);
    const mask = new BigInt64Array(items.length * length);
    for (const [row, { text }] of items.entries()) {
      for (const [place, token] of text.tokens.entries()) {
        ids[row * length + place] = BigInt(token);
        mask[row * length + place] = 1n;
      }
    }
    const integers = (data: BigInt64Array): Tensor => ({
      type: "int64",
      shape: [items.length, length],
      data,
    });
    return {
      texts: { ids: integers(ids), mask: integers(mask) },
      states: { type: "float32", shape: [items.length, ...statesShape], data: states },
      answerStarts: items.map(({ text }) => text.answerStart),
      textBefore: items.map(({ text }) => text.textBefore),
    };
  }
}

function withDraw({ view, text }: Item, epoch: number, item: number): Item {
  return { view: { ...view, draw: { epoch, item } }, text };
}

/** All views that batches may need, apart from those with draws. */
export function viewsOf(examples: readonly TrainingExample[], augmentations: number): View[] {
  const paths = Array.from(new Set(examples.map(({ example }) => example.media.path)));
  const numbers = augmentations === 0 ? [0] : Array.from({ length: augmentations }, (_, index) => index + 1);
  return paths.flatMap((path) => numbers.map((augmentation) => ({ path, augmentation })));
}
