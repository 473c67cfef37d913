/** A model on the hub: `owner/name` (or only `name`) at a revision. */
export interface HubId {
  /** `facebook/opt-125m`; safe in the path of a URL. */
  readonly name: string;
  /** A branch, tag or commit. Default: `main`. */
  readonly revision: string;
  /** `facebook/opt-125m@main`, for messages. */
  readonly text: string;
}

/** The hub allows names of at most 96 characters that contain neither `--` nor `..`. */
const NAME_PATTERN = /^(?!.*(--|\.\.))[\w][\w.-]{0,95}(\/[\w][\w.-]{0,95})?$/;
/** Git allows more, but a revision becomes one part of a URL and one file name in the cache. */
const REVISION_PATTERN = /^[\w][\w./-]{0,199}$/;

/** Parses `owner/name` or `owner/name@revision`; undefined if the string is not such an id. */
export function parseHubId(text: string): HubId | undefined {
  const [name = "", revision = "main", ...others] = text.split("@");
  if (others.length > 0 || !NAME_PATTERN.test(name) || !REVISION_PATTERN.test(revision)) return undefined;
  return { name, revision, text: `${name}@${revision}` };
}
