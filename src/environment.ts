import { join } from "node:path";

/** What epalm takes from environment variables; this is the one place that reads them. */
export interface Environment {
  readonly hub: HubEnvironment;
  /** `EPALM_DEBUG=1`: errors show where in the code they were thrown. */
  readonly debug: boolean;
}

export interface HubEnvironment {
  /** `HF_TOKEN`: for models that are private or gated. */
  readonly token: string | undefined;
  /** `HF_ENDPOINT`: another address than `https://huggingface.co`. */
  readonly endpoint: string | undefined;
  /** `EPALM_CACHE`, else `epalm/` in `HF_HOME`, whose own `hub/` has another layout. */
  readonly cacheFolder: string | undefined;
}

/** Reads the environment; a variable that is empty counts as absent. */
export function readEnvironment(variables: NodeJS.ProcessEnv = process.env): Environment {
  const value = (name: string) => variables[name] || undefined;
  const home = value("HF_HOME");
  return {
    hub: {
      token: value("HF_TOKEN"),
      endpoint: value("HF_ENDPOINT"),
      cacheFolder: value("EPALM_CACHE") ?? (home && join(home, "epalm")),
    },
    debug: value("EPALM_DEBUG") === "1",
  };
}
