import { join } from "node:path";
import { EpalmError } from "../../../src/index.js";
import { floats, type Tensor } from "../../../src/tensor/tensor.js";
import type { Tokenizer } from "../../../src/tokenizer/tokenizer.js";
import { readTrainedWeights } from "../../../src/training/index.js";
import { attributes } from "../data/text/corpus.js";
import { ATTRIBUTES } from "./language-model-graph.js";

/** The vectors that the language model has learned for conditioning labels: the content of its perceptual slot. */
export class ConditioningTables {
  readonly #labelSlots = new Map<string, Float32Array>();

  private constructor(
    private readonly tokenizer: Tokenizer,
    private readonly embeddings: Float32Array,
    private readonly attributeRows: Float32Array,
    readonly width: number,
  ) {}

  /**
   * @param folder output folder of `trainLanguageModel`, with its checkpoint
   * @throws invalid_checkpoint if a tensor is missing
   */
  static read(folder: string, tokenizer: Tokenizer): ConditioningTables {
    const path = join(folder, "checkpoint.safetensors");
    const weights = readTrainedWeights(path) ?? new Map<string, Tensor>();
    const read = (name: string) => {
      const tensor = weights.get(name);
      if (!tensor) throw new EpalmError("invalid_checkpoint", `${path}: tensor ${name} is missing`);
      return tensor;
    };
    const [embeddings, rows] = [read("embed_tokens.weight"), read(ATTRIBUTES)];
    return new ConditioningTables(tokenizer, floats(embeddings), floats(rows), rows.shape[1] ?? 0);
  }

  /** The embedding of a token, [d]. */
  embedding(token: number): Float32Array {
    return this.embeddings.subarray(token * this.width, (token + 1) * this.width);
  }

  /**
   * The slot that contains each attribute's label with weight 1, [d]. `languageModelGraph` computes the same vector.
   */
  slotOf(labels: Readonly<Record<string, string>>): Float32Array {
    const slot = new Float32Array(this.width);
    for (const [attribute, label] of Object.entries(labels)) {
      this.#labelSlot(attribute, label).forEach((part, i) => {
        slot[i] = Number(slot[i]) + part;
      });
    }
    return slot;
  }

  #labelSlot(attribute: string, label: string): Float32Array {
    const key = `${attribute}: ${label}`;
    const known = this.#labelSlots.get(key);
    if (known) return known;
    const slot = new Float32Array(this.width);
    const row = attributes.indexOf(attribute) * this.width;
    const tokens = this.tokenizer.encode(` ${label}`, { addSpecialTokens: false });
    for (const token of tokens) {
      this.embedding(token).forEach((value, i) => {
        const part = value * Number(this.attributeRows[row + i]);
        slot[i] = Number(slot[i]) + part / tokens.length;
      });
    }
    this.#labelSlots.set(key, slot);
    return slot;
  }
}
