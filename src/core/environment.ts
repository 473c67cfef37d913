import { delimiter, join } from "node:path";

/** All settings that epalm reads from environment variables. No other module reads them. */
export interface Environment {
  readonly hub: HubEnvironment;
  readonly server: ServerEnvironment;
  readonly ffmpeg: FfmpegEnvironment;
  /** The variables that a process that decodes images receives: where it finds fonts and libraries, and no secrets. */
  readonly imageDecoder: Readonly<Record<string, string>>;
  /** `EPALM_DEBUG=1`: errors show their stack traces. */
  readonly debug: boolean;
  /**
   * A non-empty `NO_COLOR` disables colours, whatever its value (no-color.org). `FORCE_COLOR` enables them, unless it
   * is `0` or `false`. Otherwise a stream has colours if it is a terminal that supports them.
   */
  readonly colours: "never" | "always" | "on terminals";
}

export interface HubEnvironment {
  /** `HF_TOKEN`: token for private and gated models. */
  readonly token: string | undefined;
  /** `HF_ENDPOINT`: replaces `https://huggingface.co`. */
  readonly endpoint: string | undefined;
  /** `EPALM_CACHE`; otherwise the folder `epalm/` in `HF_HOME`, whose own `hub/` has a different layout. */
  readonly cacheFolder: string | undefined;
}

/** Where to look for ffmpeg. */
export interface FfmpegEnvironment {
  /** `FFMPEG_PATH`: if set, no other ffmpeg is used. */
  readonly given: string | undefined;
  /** `PATH` */
  readonly folders: readonly string[];
}

const DECODER_VARIABLES = [
  ...["FONTCONFIG_FILE", "FONTCONFIG_PATH", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LD_LIBRARY_PATH"],
  ...["SystemRoot", "windir"],
];

/** Settings of the service as unparsed strings, which the modules that use them validate. */
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

/** Reads the environment. An empty variable counts as absent. */
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
    imageDecoder: Object.fromEntries(
      DECODER_VARIABLES.flatMap((name) => {
        const given = value(name);
        return given === undefined ? [] : [[name, given]];
      }),
    ),
    debug: value("EPALM_DEBUG") === "1",
    colours: coloursOf(value("NO_COLOR"), value("FORCE_COLOR")),
  };
}

function coloursOf(none: string | undefined, forced: string | undefined): Environment["colours"] {
  if (none !== undefined || forced === "0" || forced === "false") return "never";
  return forced === undefined ? "on terminals" : "always";
}
