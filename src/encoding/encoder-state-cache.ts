import type { Modality } from "../core/modality.js";
import type { ExampleStates } from "./encoder-batcher.js";

/** The encoder states of a medium. */
export interface MediumStates extends ExampleStates {
  readonly modality: Modality;
}

/**
 * Keeps encoder states by a key of the content from which they were computed. Holds at most `capacity` bytes and
 * discards the least recently used states first.
 */
export class EncoderStateCache {
  readonly capacity: number;
  /** In order of use, least recently used first. */
  readonly #media = new Map<string, MediumStates>();
  #bytes = 0;

  /** @param capacity in bytes; 0 disables the cache */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Bytes in use. */
  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): MediumStates | undefined {
    const medium = this.#media.get(key);
    if (medium) {
      this.#media.delete(key);
      this.#media.set(key, medium);
    }
    return medium;
  }

  set(key: string, medium: MediumStates): void {
    this.#forget(key);
    const bytes = bytesOf(medium);
    if (bytes > this.capacity) return;
    this.#media.set(key, medium);
    this.#bytes += bytes;
    for (const oldest of this.#media.keys()) {
      if (this.#bytes <= this.capacity) return;
      this.#forget(oldest);
    }
  }

  #forget(key: string): void {
    const medium = this.#media.get(key);
    if (!medium) return;
    this.#bytes -= bytesOf(medium);
    this.#media.delete(key);
  }
}

function bytesOf({ states, patches }: MediumStates): number {
  return states.data.byteLength + (patches?.data.byteLength ?? 0);
}
