import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomStreams } from "../../../src/core/random.js";
import { writeSafetensors } from "../../../src/formats/safetensors.js";
import { encodeOnnx } from "../../../src/graph/onnx-writer.js";
import { ANSWER_TOKEN } from "../../../src/model/tasks.js";
import { constantSource, type Tensor } from "../../../src/tensor/tensor.js";
import { createTokenizer, type Tokenizer } from "../../../src/tokenizer/tokenizer.js";
import { addAnswerToken, firstFreeToken, prepareTokenizer } from "../../../src/tokenizer/tokenizer-files.js";
import {
  filled,
  fit,
  type Initializer,
  InitialWeights,
  learningRateShare,
  normal,
  readRunState,
  WeightTraining,
} from "../../../src/training/index.js";
import { readConcepts } from "../data/text/concepts.js";
import { attributes, type Document, englishDocuments, epochDocuments } from "../data/text/corpus.js";
import { tokenizerConfig, trainTokenizer } from "./byte-pair-encoding.js";
import { ATTRIBUTES, languageModelGraph } from "./language-model-graph.js";
import { type PackedRow, packedFeeds, packRows, type TokenDocument } from "./packed-rows.js";

/** Size of the learned vocabulary, one less than the rows of the embedding table: the last row belongs to `</a>`. */
const TOKENS = 4095;

export const DECODER_LAYERS = 8;

/** An OPT with 11 million parameters. */
const config = {
  model_type: "opt",
  architectures: ["OPTForCausalLM"],
  hidden_size: 320,
  num_hidden_layers: DECODER_LAYERS,
  num_attention_heads: 5,
  ffn_dim: 1280,
  vocab_size: TOKENS + 1,
  word_embed_proj_dim: 320,
  max_position_embeddings: 256,
  do_layer_norm_before: true,
  activation_function: "relu",
  bos_token_id: 2,
  eos_token_id: 2,
  pad_token_id: 1,
  tie_word_embeddings: true,
};

/**
 * Layers at which adapters inject their states into the perceptual slot. While the language model is trained,
 * conditioning labels occupy the slot.
 */
export const slotLayers = { startLayer: 2, endLayer: 7 };

const SEED = 1;
const ROW_LENGTH = 128;
const ROWS_PER_STEP = 16;
const schedule = { warmupSteps: 100, startShare: 0, endShare: 0.05 };
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
const LEARNING_RATE = 1e-3;
const WEIGHT_DECAY = 0.1;
const CLIP_NORM = 1;
const CHECKPOINT_EVERY = 50;

export interface LanguageModelOptions {
  /** Folder to which the model is written in the format of a public checkpoint. */
  readonly folder: string;
  readonly steps: number;
  readonly threads?: number | undefined;
  readonly onStep?: ((step: number, loss: number, milliseconds: number) => void) | undefined;
}

/** Trains the language model on text only; resumes from the checkpoint in `folder`. */
export async function trainLanguageModel({ folder, steps, threads, onStep }: LanguageModelOptions): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const tokenizer = await writeTokenizer(folder);
  writeFileSync(join(folder, "config.json"), `${JSON.stringify(config, undefined, 2)}\n`);
  const initial = new InitialWeights(initializer());
  const graph = languageModelGraph(config, initial, { ...slotLayers, attributes: attributes.length });
  const checkpoint = join(folder, "checkpoint.safetensors");
  const fingerprint = { config: { attributes: attributes.length, steps } };
  const training = await WeightTraining.open(
    encodeOnnx(graph),
    { weights: initial.tensors, optimizer, state: readRunState(checkpoint, fingerprint) },
    { threads },
  );
  const texts = new TextRows(tokenizer);
  await fit(training, {
    async *batches(done) {
      for (let step = done; step < steps; step++) yield [packedFeeds(texts.step(step), ROW_LENGTH)];
    },
    rateShare: (step) => learningRateShare({ ...schedule, steps }, step),
    stepSize: (name, share) => ({
      learningRate: LEARNING_RATE * share,
      weightDecay: isMatrix(name) ? WEIGHT_DECAY : 0,
    }),
    clipNorm: CLIP_NORM,
    onStep({ step, loss, rateShare, milliseconds }) {
      onStep?.(step, loss, milliseconds);
      const line = { step, loss, learningRate: LEARNING_RATE * rateShare };
      appendFileSync(join(folder, "log.jsonl"), `${JSON.stringify(line)}\n`);
      if (step % CHECKPOINT_EVERY !== 0 && step !== steps) return;
      training.save(checkpoint, fingerprint);
      writeModel(join(folder, "model.safetensors"), training.weights);
    },
  });
  await training.close();
}

function isMatrix(name: string): boolean {
  return name.endsWith(".weight") && !name.includes("norm") && !name.startsWith("embed_");
}

/** As in GPT-2: std 0.02, and less for weights whose results are added to the residual stream. */
function initializer(): Initializer {
  const [random = Math.random] = randomStreams(SEED, 1);
  const residual = 0.02 / Math.sqrt(2 * config.num_hidden_layers);
  return (name, shape) => {
    if (name.endsWith(".bias")) return filled(shape, 0);
    if (name.includes("norm")) return filled(shape, 1);
    // Values of both signs make the vectors of one word for two attributes point in different directions.
    if (name === ATTRIBUTES) return normal(random, shape, 1);
    return normal(random, shape, /out_proj|fc2/.test(name) ? residual : 0.02);
  };
}

function writeModel(path: string, weights: ReadonlyMap<string, Tensor>): void {
  const sources = Array.from(weights)
    .filter(([name]) => name !== ATTRIBUTES)
    .map(([name, { shape, data }]) => [`model.decoder.${name}`, constantSource("float32", shape, data)] as const);
  writeSafetensors(path, sources, { format: "pt" });
}

async function writeTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) {
    const concepts = readConcepts();
    const documents = epochDocuments(englishDocuments(concepts), concepts, SEED, 0);
    const plain = documents.flatMap(({ texts }) =>
      texts.flatMap((text) => ("sentence" in text ? text.sentence : [`${text.question}?`, text.answer])),
    );
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
    writeFileSync(path, JSON.stringify(trainTokenizer(plain, TOKENS)));
  }
  const files = prepareTokenizer(folder);
  const json = addAnswerToken(files.tokenizerJson, ANSWER_TOKEN, firstFreeToken(files.tokenizerJson));
  return createTokenizer({ ...files, tokenizerJson: json }, folder);
}

/** The rows of each training step. An epoch is built when its first step is requested. */
class TextRows {
  readonly #tokenizer: Tokenizer;
  /** A cache, because there are many conditioning labels but few distinct ones. */
  readonly #idsOfLabels = new Map<string, number[]>();
  readonly #concepts = readConcepts();
  readonly #english = englishDocuments(this.#concepts);
  /** Number of steps before the current epoch. */
  #before = 0;
  #epoch = 0;
  #rows: readonly PackedRow[];

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    this.#rows = this.#load();
  }

  step(step: number): readonly PackedRow[] {
    while (step - this.#before >= this.#stepsOfEpoch) {
      this.#before += this.#stepsOfEpoch;
      this.#epoch++;
      this.#rows = this.#load();
    }
    const first = (step - this.#before) * ROWS_PER_STEP;
    return this.#rows.slice(first, first + ROWS_PER_STEP);
  }

  get #stepsOfEpoch(): number {
    return Math.floor(this.#rows.length / ROWS_PER_STEP);
  }

  #load(): PackedRow[] {
    const documents = epochDocuments(this.#english, this.#concepts, SEED, this.#epoch);
    return packRows(
      documents.map((document) => this.#tokens(document)),
      ROW_LENGTH,
    );
  }

  #tokens({ conditioningLabels, texts }: Document): TokenDocument {
    const encode = (text: string) => this.#tokenizer.encode(text, { addSpecialTokens: false });
    return {
      conditioningLabels: conditioningLabels.map(({ attribute, label, weight }) => {
        return { ids: this.#idsOfLabel(label), attribute: attributes.indexOf(attribute), weight };
      }),
      texts: texts.map((text) => {
        if ("sentence" in text) return { ids: encode(text.sentence), known: 0 };
        const asked = encode(`${text.question}?${ANSWER_TOKEN}`);
        return { ids: [...asked, ...encode(text.answer)], known: asked.length };
      }),
    };
  }

  /** Token ids of a label after a space, as within a sentence. */
  #idsOfLabel(label: string): number[] {
    const known = this.#idsOfLabels.get(label);
    if (known) return known;
    const ids = this.#tokenizer.encode(` ${label}`, { addSpecialTokens: false });
    this.#idsOfLabels.set(label, ids);
    return ids;
  }
}
