import type { EpalmError } from "../../core/errors.js";
import type { Modality } from "../../core/modality.js";

/** One medium of a run, and what is asked about it. */
export interface RunMedium {
  /**
   * The path or URL as the user wrote it, `shard.tar/member`, `table.parquet/row` or `-` for standard input; identifies
   * the medium in outputs.
   */
  readonly file: string;
  readonly source: RunSource;
  /** The questions; undefined stands for a caption. */
  readonly questions: readonly (string | undefined)[];
  /** The modality as which the medium is interpreted. Default: determined by its content. */
  readonly modality?: Modality | undefined;
  /** What its row of a table or the JSON member of its sample says, which is copied to the answers. */
  readonly input?: Readonly<Record<string, unknown>> | undefined;
  /** The other members of its sample by extension. */
  readonly members?: ReadonlyMap<string, Uint8Array> | undefined;
}

/** Where a medium comes from. */
export type RunSource =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "url"; readonly url: string }
  /** An object `s3://bucket/key`. */
  | { readonly kind: "object"; readonly name: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "standard input" }
  /** It cannot be read. */
  | { readonly kind: "unreadable"; readonly error: EpalmError };

/** What is read in order: a medium, or an archive (a tar or Parquet file) that contains any number of them. */
export type RunUnit =
  | { readonly kind: "medium"; readonly medium: RunMedium }
  | { readonly kind: "archive"; readonly path: string };

/** A request of a run or of a line of its output. */
export interface RequestIdentity {
  readonly file: string;
  readonly modality?: Modality | undefined;
  readonly question?: string | undefined;
}

export function keyOf({ file, modality, question }: RequestIdentity): string {
  return JSON.stringify([file, modality ?? "any", question]);
}

/** The keys of the requests that a line answers: the one that states its modality, and the one that states none. */
export function keysOf(line: RequestIdentity): string[] {
  return [keyOf(line), keyOf({ ...line, modality: undefined })];
}

const TAR = /\.(?:tar|tar\.gz|tgz)$/i;

export function isTar(path: string): boolean {
  return TAR.test(path);
}

/** The archive of a medium by the name of the medium; undefined if it is in none. */
export function archiveOf(file: string): string | undefined {
  // A folder of Parquet files is often called like one.
  const parquet = /^.*\.parquet(?=\/\d+$|$)/i.exec(file)?.[0];
  return parquet ?? /^.*?\.(?:tar|tar\.gz|tgz)(?=\/|$)/i.exec(file)?.[0];
}
