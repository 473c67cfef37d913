import type { Tensor } from "../tensor/tensor.js";

/**
 * Encoder states by the content that they were computed from. Holds at most `capacity` bytes of numbers; what was not
 * used for longest goes first.
 */
export class EncoderStateCache {
  readonly capacity: number;
  /** In order of use, longest ago first. */
  readonly #states = new Map<string, Tensor>();
  #bytes = 0;

  /** @param capacity in bytes; 0 keeps nothing */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Bytes that are held now. */
  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): Tensor | undefined {
    const states = this.#states.get(key);
    if (states) {
      this.#states.delete(key);
      this.#states.set(key, states);
    }
    return states;
  }

  set(key: string, states: Tensor): void {
    this.#forget(key);
    if (states.data.byteLength > this.capacity) return;
    this.#states.set(key, states);
    this.#bytes += states.data.byteLength;
    for (const oldest of this.#states.keys()) {
      if (this.#bytes <= this.capacity) return;
      this.#forget(oldest);
    }
  }

  #forget(key: string): void {
    this.#bytes -= this.#states.get(key)?.data.byteLength ?? 0;
    this.#states.delete(key);
  }
}
