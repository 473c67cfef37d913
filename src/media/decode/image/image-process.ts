import { type ChildProcess, fork } from "node:child_process";
import { abortError, throwIfAborted } from "../../../core/abort.js";
import { atExit } from "../../../core/at-exit.js";
import { readEnvironment } from "../../../core/environment.js";
import { EpalmError, type ErrorCode } from "../../../core/errors.js";
import { reservedCodeBytes, residentBytes } from "../resident-bytes.js";
import type { ImageResult, ImageTask } from "./image-task.js";

/** Message from a process. `decoded` is undefined if the image has more pixels than the process may decode. */
export type FromImageProcess =
  | { readonly kind: "result"; readonly decoded: ImageResult | undefined }
  | { readonly kind: "failure"; readonly code: ErrorCode; readonly message: string };

export interface ProcessLimits {
  /** Wall-clock time for one image. */
  readonly seconds: number;
  /** Memory of the process, in bytes. */
  readonly bytes: number;
}

/** In bytes: private memory of a process that has not decoded anything, of which about 12 MB are resident. */
const IDLE_BYTES = 96 << 20;

/** Milliseconds between two checks of the resident memory. */
const MEMORY_INTERVAL = 50;

const entry = new URL("./image-process.worker.js", import.meta.url);

/**
 * A child process that decodes images, one at a time. librsvg and the other decoders cannot be interrupted and may take
 * any amount of memory, but a process can be killed.
 */
export class ImageProcess {
  readonly #child: ChildProcess;
  readonly #limits: ProcessLimits;
  readonly #forget: () => void;
  #isAlive = true;
  #reply: ((message: FromImageProcess) => void) | undefined;
  #fail: ((ending: Ending) => void) | undefined;
  #resting: NodeJS.Timeout | undefined;

  constructor(limits: ProcessLimits) {
    this.#limits = limits;
    this.#child = start(limits.bytes);
    this.#child.on("message", (message: FromImageProcess) => this.#reply?.(message));
    this.#child.on("error", (error) => this.#end(failed(error.message)));
    // The last message may arrive after `exit`, but never after `close`.
    this.#child.on("close", (code, killedBy) => this.#end(crashed(code, killedBy, limits)));
    this.#forget = atExit(() => this.#child.kill("SIGKILL"));
    this.#setBusy(false);
  }

  /** Whether it can decode further images. */
  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** @internal For tests. */
  get processId(): number | undefined {
    return this.#child.pid;
  }

  /** Returns undefined if the task does not permit that many pixels. @throws too_large, aborted, errors of decoding */
  async run(task: ImageTask, signal: AbortSignal | undefined): Promise<ImageResult | undefined> {
    throwIfAborted(signal);
    clearTimeout(this.#resting);
    const { seconds, bytes } = this.#limits;
    const clock = setTimeout(() => this.#end(tooComplex(`${seconds} seconds`)), seconds * 1000);
    const onAbort = () => this.#end(() => abortError(signal));
    signal?.addEventListener("abort", onAbort, { once: true });
    const memory = setInterval(async () => {
      if ((await residentBytes(this.#child.pid)) > bytes) this.#end(tooMuchMemory(bytes));
    }, MEMORY_INTERVAL);
    this.#setBusy(true);
    try {
      const message = await new Promise<FromImageProcess>((resolve, reject) => {
        this.#reply = resolve;
        this.#fail = (ending) => reject(ending(task.where));
        this.#child.send(task, (error) => error && this.#end(failed(error.message)));
      });
      if (message.kind === "failure") throw new EpalmError(message.code, message.message);
      return message.decoded;
    } finally {
      this.#reply = undefined;
      this.#fail = undefined;
      this.#setBusy(false);
      signal?.removeEventListener("abort", onAbort);
      clearTimeout(clock);
      clearInterval(memory);
    }
  }

  /** Ends the process unless it runs another task within `seconds`. */
  rest(seconds: number): void {
    this.#resting = setTimeout(() => this.#end(failed("it was not used")), seconds * 1000).unref();
  }

  /** An idle process must not keep a finished program alive. */
  #setBusy(isBusy: boolean): void {
    if (isBusy) {
      this.#child.ref();
      this.#child.channel?.ref();
    } else {
      this.#child.unref();
      this.#child.channel?.unref();
    }
  }

  #end(ending: Ending): void {
    this.#isAlive = false;
    clearTimeout(this.#resting);
    this.#forget();
    this.#child.kill("SIGKILL");
    this.#fail?.(ending);
  }
}

/**
 * On Linux, the operating system enforces the limit on memory: an allocation beyond it fails at once, whereas the
 * resident memory can grow by hundreds of megabytes between two checks. A shell sets the limit, because Node cannot.
 */
function start(bytes: number): ChildProcess {
  const kilobytes = () => Math.ceil((bytes + IDLE_BYTES + reservedCodeBytes()) / 1024);
  const limited =
    process.platform === "linux"
      ? { execPath: "/bin/sh", execArgv: ["-c", `ulimit -d ${kilobytes()}; exec "$0" "$@"`, process.execPath] }
      : { execArgv: [] };
  return fork(entry, {
    ...limited,
    serialization: "advanced",
    // The keys of the service and tokens of the hub stay in this process.
    env: readEnvironment().imageDecoder,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
}

/** Why a process ended, worded for the medium that it was decoding. */
type Ending = (where: string) => EpalmError;

function tooComplex(what: string): Ending {
  return (where) => new EpalmError("too_large", `${where}: is too complex: decoding took more than ${what}`);
}

function tooMuchMemory(bytes: number): Ending {
  return tooComplex(`${Math.round(bytes / 1e6)} MB of memory`);
}

function failed(reason: string): Ending {
  return (where) => new EpalmError("internal", `${where}: the image decoder failed: ${reason}`);
}

/** A failed allocation ends the process by another signal; these are faults in a decoder. */
const faults: readonly unknown[] = ["SIGSEGV", "SIGBUS", "SIGFPE"];

function crashed(code: number | null, killedBy: NodeJS.Signals | null, { bytes }: ProcessLimits): Ending {
  if (faults.includes(killedBy)) {
    return (where) => new EpalmError("invalid_media", `${where}: cannot be decoded: its decoder crashed (${killedBy})`);
  }
  return killedBy === null ? failed(`its process ended with code ${code}`) : tooMuchMemory(bytes);
}
