/** A model on the hub: `owner/name` (or a bare `name`), at a revision. */
export interface HubId {
  /** `facebook/opt-125m`, safe in a path of an address. */
  readonly name: string;
  /** A branch, tag or commit; `main` unless given. */
  readonly revision: string;
  /** `facebook/opt-125m@main`, for messages. */
  readonly text: string;
}

/** The hub allows names of at most 96 characters, and neither `--` nor `..` in them. */
const NAME_PATTERN = /^(?!.*(--|\.\.))[\w][\w.-]{0,95}(\/[\w][\w.-]{0,95})?$/;
/** Git allows more; a revision becomes one part of an address and one file name in the cache. */
const REVISION_PATTERN = /^[\w][\w./-]{0,199}$/;

/** Reads `owner/name` or `owner/name@revision`; undefined when the text is no such id. */
export function parseHubId(text: string): HubId | undefined {
  const [name = "", revision = "main", ...others] = text.split("@");
  if (others.length > 0 || !NAME_PATTERN.test(name) || !REVISION_PATTERN.test(revision)) return undefined;
  return { name, revision, text: `${name}@${revision}` };
}
