import { createHash } from "node:crypto";

/** Slots of a new set; a power of two. */
const FIRST_SLOTS = 1024;

/**
 * A set of strings of which only 8 bytes of a hash are kept, so that a run can remember millions of requests. Two of
 * ten million strings have the same hash with a probability of 3e-6.
 */
export class HashSet {
  #size = 0;
  /** Two numbers per slot, both 0 if it is free; a full slot is found by open addressing. */
  #slots = new Uint32Array(2 * FIRST_SLOTS);

  get size(): number {
    return this.#size;
  }

  has(text: string): boolean {
    const [high, low] = hashOf(text);
    return this.#slots[this.#find(high, low)] !== 0;
  }

  /** Returns whether the string is new. */
  add(text: string): boolean {
    const [high, low] = hashOf(text);
    const at = this.#find(high, low);
    if (this.#slots[at] !== 0) return false;
    this.#put(at, high, low);
    // At most half of the slots are used, so that a search ends after one or two of them.
    if (4 * ++this.#size > this.#slots.length) this.#grow();
    return true;
  }

  #find(high: number, low: number): number {
    const slots = this.#slots;
    let at = (2 * low) % slots.length;
    while (slots[at] !== 0 && (slots[at] !== high || slots[at + 1] !== low)) at = (at + 2) % slots.length;
    return at;
  }

  #put(at: number, high: number, low: number): void {
    this.#slots[at] = high;
    this.#slots[at + 1] = low;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(2 * old.length);
    for (let at = 0; at < old.length; at += 2) {
      const [high = 0, low = 0] = old.subarray(at, at + 2);
      if (high !== 0) this.#put(this.#find(high, low), high, low);
    }
  }
}

/** The first number is never 0. */
function hashOf(text: string): readonly [high: number, low: number] {
  const digest = createHash("sha256").update(text).digest();
  return [digest.readUInt32LE(0) || 1, digest.readUInt32LE(4)];
}
