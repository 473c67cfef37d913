import { delimiter, join } from "node:path";

/** What epalm takes from environment variables; this is the one place that reads them. */
export interface Environment {
  readonly hub: HubEnvironment;
  readonly server: ServerEnvironment;
  readonly ffmpeg: FfmpegEnvironment;
  /** `EPALM_DEBUG=1`: errors show where in the code they were thrown. */
  readonly debug: boolean;
  /**
   * `NO_COLOR`: never, whatever it says (no-color.org). `FORCE_COLOR`: always, unless it is `0` or `false`. Else a
   * stream has colours where it is a terminal that can show them.
   */
  readonly colours: "never" | "always" | "on terminals";
}

export interface HubEnvironment {
  /** `HF_TOKEN`: for models that are private or gated. */
  readonly token: string | undefined;
  /** `HF_ENDPOINT`: another address than `https://huggingface.co`. */
  readonly endpoint: string | undefined;
  /** `EPALM_CACHE`, else `epalm/` in `HF_HOME`, whose own `hub/` has another layout. */
  readonly cacheFolder: string | undefined;
}

/** Where ffmpeg is looked for. */
export interface FfmpegEnvironment {
  /** `FFMPEG_PATH`: this one, and no other. */
  readonly given: string | undefined;
  /** `PATH` */
  readonly folders: readonly string[];
}

/** Settings of the service, as texts; whoever uses them checks them. */
export interface ServerEnvironment {
  /** `EPALM_CONFIG` */
  readonly config: string | undefined;
  /** `EPALM_HOST` */
  readonly host: string | undefined;
  /** `EPALM_PORT` */
  readonly port: string | undefined;
  /** `EPALM_MODELS`: `[NAME=]DIR`, separated by commas. */
  readonly models: readonly string[] | undefined;
  /** `EPALM_THREADS` */
  readonly threads: string | undefined;
  /** `EPALM_API_KEYS`: `NAME=KEY`, separated by commas. */
  readonly keys: readonly string[] | undefined;
  /** `EPALM_LOG` */
  readonly logLevel: string | undefined;
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
    server: {
      config: value("EPALM_CONFIG"),
      host: value("EPALM_HOST"),
      port: value("EPALM_PORT"),
      models: value("EPALM_MODELS")?.split(","),
      threads: value("EPALM_THREADS"),
      keys: value("EPALM_API_KEYS")?.split(","),
      logLevel: value("EPALM_LOG"),
    },
    ffmpeg: { given: value("FFMPEG_PATH"), folders: value("PATH")?.split(delimiter).filter(Boolean) ?? [] },
    debug: value("EPALM_DEBUG") === "1",
    colours: coloursOf(value("NO_COLOR"), value("FORCE_COLOR")),
  };
}

function coloursOf(none: string | undefined, forced: string | undefined): Environment["colours"] {
  if (none !== undefined || forced === "0" || forced === "false") return "never";
  return forced === undefined ? "on terminals" : "always";
}
