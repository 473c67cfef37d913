import { attribute, describeSpan } from "../core/trace.js";
import { floats } from "../tensor/tensor.js";
import type { EmbeddingsRequest } from "./dialects/embeddings.js";
import { FieldError } from "./http/problem.js";
import type { InFlightRequest } from "./queue/in-flight.js";
import { modalityOf, namingMedium, type SingleMedium } from "./requests/medium.js";
import { expectModality, receivedBytes, type Service } from "./service.js";

/**
 * Fetches and encodes media, all of a request together, and returns the state of each after the last block, scaled to
 * length 1. The pooling of that state is that of the encoder.
 *
 * @returns vectors [dv]; dv is the width of the encoder's states
 * @throws FieldError; the errors of `Model.encode`, which name the medium
 */
export async function embedInTurn(
  { config, models, metrics }: Service,
  { model: wanted, media, dimensions }: EmbeddingsRequest,
  inFlight: InFlightRequest,
): Promise<{ readonly name: string; readonly vectors: readonly Float32Array[] }> {
  const { name, model } = models.get(wanted);
  describeSpan({ [attribute.model]: name });
  for (const medium of media) expectModality(medium, model.modalities, name);
  const { mediaBytes, answerSeconds } = config.limits;
  const { signal } = inFlight;
  const limits = { ...config.remoteMedia, maxBytes: mediaBytes };
  const named = async <T>(medium: SingleMedium, work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw namingMedium(error, medium);
    }
  };
  const started = performance.now();
  const encoded = await inFlight.run(
    answerSeconds,
    async () => {
      const inputs: Uint8Array[] = [];
      for (const medium of media) inputs.push(await named(medium, receivedBytes(medium, limits, signal)));
      return { inputs, fetched: performance.now() - started };
    },
    async ({ inputs, fetched }, queue) => {
      const all = await Promise.all(
        media.map((medium, index) => {
          // Each medium gets its own signal, because Node warns of a memory leak if many listeners share one.
          const options = { modality: modalityOf(medium), signal: AbortSignal.any([signal]) };
          return named(medium, model.encode(inputs[index] ?? new Uint8Array(), options));
        }),
      );
      const longest = (stage: "media" | "encoder") => Math.max(...all.map(({ timings }) => timings[stage]));
      metrics.countStages(name, { queue, media: fetched + longest("media"), encoder: longest("encoder") });
      return all;
    },
  );
  const vectors = encoded.map(({ states }) => unitVector(lastState(floats(states), states.shape)));
  const width = vectors.find((vector) => dimensions !== undefined && vector.length !== dimensions)?.length;
  if (width === undefined) return { name, vectors };
  throw new FieldError(
    "invalid_option",
    "dimensions",
    `expected ${width}, the width of the encoder's states, got ${dimensions}`,
  );
}

/** @param data states [depth, dv] */
function lastState(data: Float32Array, [depth = 1]: readonly number[]): Float32Array {
  const width = data.length / depth;
  return data.slice(data.length - width);
}

function unitVector(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 ? vector : vector.map((value) => value / length);
}
