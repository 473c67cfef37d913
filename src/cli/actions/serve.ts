import { readManifest } from "../../model/manifest.js";
import type { ServerConfig } from "../../server/config.js";
import { runServer } from "../../server/http/run-server.js";
import type { CliContext } from "../context.js";
import { type ServedModelFlags, serverConfig } from "../options/server-config.js";
import { formatCapabilities } from "../output/format-model.js";
import { note } from "../output/output.js";
import { packageVersion } from "../package-version.js";

export interface ServeFlags extends ServedModelFlags {
  readonly host?: string;
  readonly port?: number;
}

/** `epalm serve` serves models over HTTP. */
export async function serve(flags: ServeFlags, { environment, signal }: CliContext): Promise<void> {
  const config = serverConfig(flags, environment, "serve");
  const ending = new AbortController();
  const end = () => ending.abort();
  signal.addEventListener("abort", end, { once: true });
  // Only once, so that a second signal ends the process at once.
  process.once("SIGTERM", end);
  try {
    await runServer({
      config,
      version: packageVersion(),
      signal: ending.signal,
      onReady: (address) =>
        note(
          [`epalm: serving ${Object.keys(config.models).join(", ")} at ${address}`, ...capabilityLines(config)].join(
            "\n",
          ),
        ),
    });
  } finally {
    process.off("SIGTERM", end);
  }
}

/** What the manifests say about the models; nothing for models that say nothing. */
function capabilityLines({ models }: ServerConfig): string[] {
  return Object.entries(models).flatMap(([name, folder]) => {
    const capabilities = formatCapabilities(readManifest(folder));
    return capabilities.length === 0 ? [] : [`${name}:`, ...capabilities.map((text) => text.replace(/^/gm, "  "))];
  });
}
