/** How the rows of a step are taken from a mirror of the cache. */
export interface MirrorPlan {
  /** Whether rows of the mirror remain in use. */
  readonly keepsMirror: boolean;
  /** Rows of the cache that the mirror lacks, as a range; undefined if it has all of them. */
  readonly sent: { readonly first: number; readonly count: number } | undefined;
  /** For each row of the step, its row in the mirror (if it remains in use) followed by the sent rows. */
  readonly rows: readonly number[];
  /** Whether the mirror has exactly these rows in this order. */
  readonly isUnchanged: boolean;
}

/**
 * Knows which row of a mirror has the same content as each row of the cache. Rows of sequences that joined, were
 * restored from a prefix or grew outside the mirror have none.
 */
export class MirroredRows {
  /** Row of the mirror, by row of the cache. */
  #rows: (number | undefined)[] = [];
  #count = 0;

  /** Follows `KeyValueCache.reorder`. A row that is a beginning of its source is found in the source's row. */
  reorder(sources: readonly (number | undefined)[]): void {
    const rows = this.#rows;
    this.#rows = sources.map((source) => (source === undefined ? undefined : rows[source]));
  }

  /**
   * Finds the rows of the cache from `first` on.
   *
   * @param lengths cached elements of each row; the content of an empty one does not matter
   */
  find(first: number, lengths: readonly number[]): MirrorPlan {
    const found = lengths.map((length, at) => (length === 0 ? 0 : this.#rows[first + at]));
    const keepsMirror = this.#count > 0 && found.some((row, at) => row !== undefined && (lengths[at] ?? 0) > 0);
    const isSent = (at: number) => (lengths[at] ?? 0) > 0 && (!keepsMirror || found[at] === undefined);
    const places = Array.from(lengths.keys()).filter(isSent);
    const [from = 0, last = -1] = [places[0], places.at(-1)];
    const start = (keepsMirror ? this.#count : 0) - from;
    const rows = found.map((row, at) => (isSent(at) ? start + at : (row ?? 0)));
    return {
      keepsMirror,
      sent: places.length === 0 ? undefined : { first: first + from, count: last + 1 - from },
      rows,
      isUnchanged: places.length === 0 && rows.length === this.#count && rows.every((row, at) => row === at),
    };
  }

  /** The mirror now consists of the rows of the cache from `first` on. */
  hold(first: number, count: number): void {
    this.#rows = Array.from({ length: first + count }, (_, row) => (row < first ? undefined : row - first));
    this.#count = count;
  }

  /** A row of the cache has changed, but not that of the mirror. */
  forget(row: number): void {
    this.#rows[row] = undefined;
  }

  clear(): void {
    this.#rows = [];
    this.#count = 0;
  }
}
