import { delimiter, join } from "node:path";
import { EpalmError } from "./errors.js";

/** All settings that epalm reads from environment variables. No other module reads them. */
export interface Environment {
  readonly hub: HubEnvironment;
  readonly server: ServerEnvironment;
  readonly ffmpeg: FfmpegEnvironment;
  /** The variables that a process that decodes images receives: where it finds fonts and libraries, and no secrets. */
  readonly imageDecoder: Readonly<Record<string, string>>;
  /** `EPALM_THREADS`: threads for each graph, unless an option says otherwise. */
  readonly threads: string | undefined;
  /** `EPALM_DEVICE`: where graphs are computed, unless an option says otherwise. */
  readonly device: string | undefined;
  /** `JOB_COMPLETION_INDEX`: the number of this pod of a Kubernetes Indexed Job, counted from 0. */
  readonly jobIndex: string | undefined;
  /** `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another store than Amazon's is used. The SDK reads the address. */
  readonly hasS3Endpoint: boolean;
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
  /** `EPALM_API_KEYS`: `NAME=KEY`, separated by commas. */
  readonly keys: readonly string[] | undefined;
  /** `EPALM_LOG` */
  readonly logLevel: string | undefined;
  /** `EPALM_QUEUE`: address of the Redis server with the queue of jobs; may contain a password. */
  readonly queue: string | undefined;
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
      keys: value("EPALM_API_KEYS")?.split(","),
      logLevel: value("EPALM_LOG"),
      queue: value("EPALM_QUEUE"),
    },
    ffmpeg: { given: value("FFMPEG_PATH"), folders: value("PATH")?.split(delimiter).filter(Boolean) ?? [] },
    imageDecoder: Object.fromEntries(
      DECODER_VARIABLES.flatMap((name) => {
        const given = value(name);
        return given === undefined ? [] : [[name, given]];
      }),
    ),
    threads: value("EPALM_THREADS"),
    device: value("EPALM_DEVICE"),
    jobIndex: value("JOB_COMPLETION_INDEX"),
    hasS3Endpoint: (value("AWS_ENDPOINT_URL_S3") ?? value("AWS_ENDPOINT_URL")) !== undefined,
    debug: value("EPALM_DEBUG") === "1",
    colours: coloursOf(value("NO_COLOR"), value("FORCE_COLOR")),
  };
}

/** More threads than any machine in use has cores. */
export const MAX_THREADS = 1024;

/** @throws invalid_option if `EPALM_THREADS` is not a number of threads */
export function threadsOf({ threads }: Environment): number | undefined {
  const count = environmentInteger("EPALM_THREADS", threads);
  if (count === undefined || (count >= 1 && count <= MAX_THREADS)) return count;
  throw new EpalmError("invalid_option", `EPALM_THREADS: expected an integer from 1 to ${MAX_THREADS}, got ${count}`);
}

/**
 * @param text value of the variable `name`
 * @throws invalid_option unless the value is an integer or absent
 */
export function environmentInteger(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  throw new EpalmError("invalid_option", `${name}: expected an integer, got '${text}'`);
}

function coloursOf(none: string | undefined, forced: string | undefined): Environment["colours"] {
  if (none !== undefined || forced === "0" || forced === "false") return "never";
  return forced === undefined ? "on terminals" : "always";
}
