import { parse } from "../../../core/schema.js";
import { MAX_MEDIA_BYTES } from "../../../media/media-limits.js";
import { remoteMedia } from "../../../server/config.js";
import { fetchMedium, type Network, type RemoteLimits } from "../../../server/requests/remote-media.js";

/** Time limit for a download in seconds. It is longer than the service's, since no client waits for the answer. */
const SECONDS = 60;

/** The limits on media that a run fetches. @param hosts those of `--allow-host` @throws invalid_option */
export function remoteLimits(hosts: readonly string[]): RemoteLimits {
  const settings = parse(remoteMedia, { hosts, seconds: SECONDS }, "--allow-host", "invalid_option");
  const refusal = (host: string) => `expected --allow-host ${host}, which permits to fetch media from this host`;
  return { ...settings, maxBytes: MAX_MEDIA_BYTES, refusal };
}

/** Fetches the medium at a URL. @throws invalid_option, invalid_media, too_large, each naming the URL; aborted */
export function fetchFile(
  url: string,
  limits: RemoteLimits = remoteLimits([]),
  signal: AbortSignal,
  network?: Network,
): Promise<Uint8Array> {
  return fetchMedium(url, url, limits, signal, network);
}
