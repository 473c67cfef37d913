import { readManifest } from "../../model/manifest.js";
import type { ServerConfig } from "../../server/config.js";
import { runServer } from "../../server/http/run-server.js";
import type { CliContext } from "../context.js";
import { type ServedModelFlags, serverConfig } from "../options/server-config.js";
import { formatCapabilities } from "../output/format-model.js";
import { note } from "../output/output.js";
import { packageVersion } from "../package-version.js";
import { untilTerminated } from "./until-terminated.js";

export interface ServeFlags extends ServedModelFlags {
  readonly host?: string;
  readonly port?: number;
}

/** `epalm serve` serves models over HTTP. */
export async function serve(flags: ServeFlags, { environment, signal }: CliContext): Promise<void> {
  const config = serverConfig(flags, environment, "serve");
  await untilTerminated(signal, (signal) =>
    runServer({
      config,
      version: packageVersion(),
      signal,
      onReady: (address) =>
        note(
          [`epalm: serving ${Object.keys(config.models).join(", ")} at ${address}`, ...capabilityLines(config)].join(
            "\n",
          ),
        ),
    }),
  );
}

/** What the manifests say about the models; nothing for models that say nothing. */
function capabilityLines({ models }: ServerConfig): string[] {
  return Object.entries(models).flatMap(([name, folder]) => {
    const capabilities = formatCapabilities(readManifest(folder));
    return capabilities.length === 0 ? [] : [`${name}:`, ...capabilities.map((text) => text.replace(/^/gm, "  "))];
  });
}
