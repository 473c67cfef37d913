import { createHash } from "node:crypto";

const INITIAL_SLOTS = 1024;

/** The table grows when more than half of its slots are used. */
const MAX_LOAD = 0.5;

/**
 * A set of strings of which only 64 bits of a hash are kept: 16 to 32 bytes per string, however long it is, and more
 * strings than a `Set` can contain. Among ten million strings, two have the same hash with a probability of 3e-6.
 */
export class KeySet {
  /** Open addressing; 0 marks a free slot. */
  #slots = new BigUint64Array(INITIAL_SLOTS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(key: string): boolean {
    const hash = hashOf(key);
    return this.#slots[slotOf(this.#slots, hash)] === hash;
  }

  /** Returns whether the string was new. */
  add(key: string): boolean {
    const hash = hashOf(key);
    const slot = slotOf(this.#slots, hash);
    if (this.#slots[slot] === hash) return false;
    this.#slots[slot] = hash;
    this.#size++;
    if (this.#size > MAX_LOAD * this.#slots.length) this.#grow();
    return true;
  }

  #grow(): void {
    const slots = new BigUint64Array(2 * this.#slots.length);
    for (const hash of this.#slots) {
      if (hash !== 0n) slots[slotOf(slots, hash)] = hash;
    }
    this.#slots = slots;
  }
}

function hashOf(key: string): bigint {
  const hash = createHash("sha256").update(key).digest().readBigUInt64LE();
  return hash === 0n ? 1n : hash;
}

/** The slot that contains the hash, or the free one in which it belongs. */
function slotOf(slots: BigUint64Array, hash: bigint): number {
  let slot = Number(hash % BigInt(slots.length));
  while (slots[slot] !== 0n && slots[slot] !== hash) slot = (slot + 1) % slots.length;
  return slot;
}
