/** What a client may hold, as a multiple of what is free. */
const TIMES_FREE = 3;

/**
 * Divides something limited among clients. A client may hold at most three times as much as is free, as in the dynamic
 * thresholds of network switches (Choudhury and Hahne, 1998): a single client gets three quarters, two get three
 * sevenths each, and something always remains for the next one.
 */
export class Quota {
  readonly limit: number;
  readonly #guaranteed: number;
  readonly #held = new Map<string, number>();
  #total = 0;

  /** @param guaranteed what a client may hold in any case, as long as it is free */
  constructor(limit: number, guaranteed = 0) {
    this.limit = limit;
    this.#guaranteed = guaranteed;
  }

  get total(): number {
    return this.#total;
  }

  get isFull(): boolean {
    return this.#total >= this.limit;
  }

  held(client: string): number {
    return this.#held.get(client) ?? 0;
  }

  /** Whether the client may take this much: `full` if there is not enough, `share` if it already holds too much. */
  refusal(client: string, amount = 1): "full" | "share" | undefined {
    const free = this.limit - this.#total;
    if (amount > free) return "full";
    const held = this.held(client);
    return held <= TIMES_FREE * free || held + amount <= this.#guaranteed ? undefined : "share";
  }

  /** Takes without asking; see `refusal`. */
  take(client: string, amount = 1): void {
    this.#total += amount;
    this.#held.set(client, this.held(client) + amount);
  }

  giveBack(client: string, amount = 1): void {
    this.#total -= amount;
    const left = this.held(client) - amount;
    if (left > 0) this.#held.set(client, left);
    else this.#held.delete(client);
  }
}
