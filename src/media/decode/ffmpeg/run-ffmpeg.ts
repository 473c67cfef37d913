import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { constants, setPriority } from "node:os";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { abortError, throwIfAborted } from "../../../core/abort.js";
import { atExit } from "../../../core/at-exit.js";
import { EpalmError, messageOf } from "../../../core/errors.js";
import type { Container } from "../../detect/container.js";
import { residentBytes } from "../resident-bytes.js";
import { findFfmpeg } from "./find-ffmpeg.js";
import type { FfmpegInput, MediaFile } from "./media-file.js";

export interface RunLimits {
  /** Wall-clock time for all runs on one medium together. */
  readonly seconds: number;
  /** In bytes. Checked on Linux only; other systems rely on the limits per allocation and per frame. */
  readonly residentBytes: number;
}

/**
 * Decoding takes a few seconds at most, but a busy service has several runs at the same time. The memory suffices for
 * thirty of the largest frames.
 */
const usualLimits: RunLimits = { seconds: 60, residentBytes: 1 << 30 };

/** CPU time after which the operating system ends a run, even if this process no longer exists. In seconds. */
const PROCESSOR_SECONDS = 60;

/** Maximum size of one allocation by ffmpeg: damaged files can declare tables of any size. */
const MAX_BLOCK_BYTES = 256 << 20;

/** Threads of a decoder. Each thread of a video decoder holds its own frames. */
const THREADS = 2;

/** Milliseconds between two checks of a run's memory. */
const MEMORY_INTERVAL = 50;

/** How much of ffmpeg's error output is read and reported, in UTF-16 units; the beginning has the reason. */
const COMPLAINT_LENGTH = 4096;
const REASON_LENGTH = 200;

/**
 * Decoders that ffmpeg may use, under their names in old and new builds. ffmpeg has hundreds of others for rare
 * formats; these are poorly maintained, and most vulnerabilities are found in them.
 */
const codecs = [
  "aac,aac_fixed,aac_latm,ac3,eac3,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,dca,flac,gsm,gsm_ms,libgsm",
  "libgsm_ms,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,speex,libspeex,vorbis,libvorbis,wavpack",
  "wmav1,wmav2,wmapro,wmalossless,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf",
  "pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_s8,pcm_u8",
  "pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le",
  "av1,libaom-av1,libdav1d,dnxhd,dvvideo,ffv1,flv,h263,h264,hevc,huffyuv,mjpeg,mpeg1video,mpeg2video,mpeg4",
  "msmpeg4v1,msmpeg4v2,msmpeg4,png,prores,qtrle,rawvideo,theora,libtheora,vc1,vp6,vp6f,vp8,libvpx,vp9,libvpx-vp9",
  "wmv1,wmv2,wmv3,bmp",
].join(",");

const allowed = new Set(codecs.split(","));

/** Codecs whose decoders have other names. */
const decoders: Readonly<Record<string, string>> = {
  ...{ dts: "dca", amr_nb: "amrnb", amr_wb: "amrwb", flv1: "flv", msmpeg4v3: "msmpeg4" },
};

/** Whether ffmpeg may decode the codec. @param name ffmpeg's short name of it */
export function isAllowedCodec(name: string): boolean {
  return allowed.has(decoders[name] ?? name);
}

/** Arguments with which ffmpeg reads a medium only as the detected container, and no other file. */
function inputArguments({ demuxer }: Container, input: FfmpegInput, seek: number | undefined): string[] {
  const [protocol, address, skip] =
    "path" in input ? (["file", `file:${input.path}`, input.skip] as const) : (["pipe", "pipe:0", 0] as const);
  return [
    ...["-protocol_whitelist", protocol, "-format_whitelist", demuxer, "-codec_whitelist", codecs],
    ...(skip > 0 ? ["-skip_initial_bytes", String(skip)] : []),
    ...(seek === undefined ? [] : ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", seek.toFixed(6)]),
    // Ignores tracks whose content is in another file.
    ...(demuxer === "mov" ? ["-enable_drefs", "0", "-use_absolute_path", "0"] : []),
    ...["-threads", String(THREADS), "-f", demuxer, "-i", address],
  ];
}

export interface FfmpegRun<T> {
  readonly file: MediaFile;
  /** Arguments that concern the input, in addition to those of every run. */
  readonly before?: readonly string[] | undefined;
  /** The position at which the run begins, in seconds. Default: the beginning. */
  readonly seek?: number | undefined;
  /** Arguments that concern the output. */
  readonly arguments: readonly string[];
  readonly signal?: AbortSignal | undefined;
  /** Reads ffmpeg's standard output at its own pace; it may stop before the end. */
  readonly read: (output: AsyncIterable<Buffer>) => Promise<T>;
  /** Default: 60 seconds and 1 GiB. */
  readonly limits?: RunLimits | undefined;
}

export interface FfmpegResult<T> {
  readonly value: T;
  /** ffmpeg's first error message, on one line. ffmpeg continues after errors if it can. */
  readonly complaint: string | undefined;
}

/**
 * Runs ffmpeg on a medium, with an empty environment. When the promise settles, the process has ended in any case.
 *
 * @throws too_large (time, memory), aborted, invalid_media (ffmpeg crashed), and the errors of `read` and `findFfmpeg`
 */
export async function runFfmpeg<T>(run: FfmpegRun<T>): Promise<FfmpegResult<T>> {
  const { file, signal, limits = usualLimits, before = [] } = run;
  const input = await file.input(run.seek !== undefined);
  const { path } = await findFfmpeg();
  throwIfAborted(signal);
  const child = spawn(
    path,
    [...commonArguments(), ...before, ...inputArguments(file.container, input, run.seek), ...run.arguments],
    { stdio: "pipe", env: {}, windowsHide: true },
  );
  lowerPriority(child.pid);
  feed(child.stdin, input);
  const watch = new Watch(child, file, limits, signal);
  const complaint = firstLine(child.stderr, "path" in input ? input.path : "pipe:0").catch(() => undefined);
  try {
    const value = await run.read(child.stdout);
    const killedBy = await watch.end;
    // SIGPIPE: `read` stopped before the end of the output.
    if (killedBy !== undefined && killedBy !== "SIGPIPE") {
      throw new EpalmError("invalid_media", `${file.where}: cannot be decoded: ffmpeg was ended by ${killedBy}`);
    }
    return { value, complaint: await complaint };
  } catch (error) {
    child.kill("SIGKILL");
    await watch.end.catch(() => undefined);
    throw watch.reason ?? error;
  } finally {
    watch.close();
  }
}

function feed(stdin: Writable, input: FfmpegInput): void {
  const source = "path" in input ? undefined : input.piped;
  // ffmpeg may end before it has read everything.
  if (typeof source === "function") return void pipeline(source(), stdin).catch(() => undefined);
  stdin.on("error", () => undefined);
  stdin.end(source);
}

/** Decoding must not take processor time from the models, the event loop and requests without audio or video. */
function lowerPriority(processId: number | undefined): void {
  if (processId === undefined) return;
  try {
    setPriority(processId, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // The process has already ended, or the system does not permit it.
  }
}

function commonArguments(): string[] {
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", "error"],
    ...["-timelimit", String(PROCESSOR_SECONDS), "-max_alloc", String(MAX_BLOCK_BYTES)],
  ];
}

type Child = ChildProcessWithoutNullStreams;

/** Ends a run that exceeds a limit or is cancelled. */
class Watch {
  /** Why the run was ended early, if it was. */
  reason: EpalmError | undefined;
  /** Settles when the process has ended, with the signal that ended it. */
  readonly end: Promise<NodeJS.Signals | undefined>;
  readonly #close: readonly (() => void)[];

  constructor(child: Child, { where, begun }: MediaFile, limits: RunLimits, signal: AbortSignal | undefined) {
    const stop = (reason: EpalmError) => {
      this.reason ??= reason;
      child.kill("SIGKILL");
    };
    const tooMuch = (what: string) => stop(new EpalmError("too_large", `${where}: decoding took more than ${what}`));
    this.end = new Promise((resolve, reject) => {
      child.once("error", (error) => {
        this.reason ??= new EpalmError("internal", `ffmpeg cannot be started: ${messageOf(error)}`);
        reject(this.reason);
      });
      child.once("close", (_, killedBy) => {
        if (killedBy === "SIGXCPU") tooMuch(`${PROCESSOR_SECONDS} seconds of CPU time`);
        if (this.reason === undefined) resolve(killedBy ?? undefined);
        else reject(this.reason);
      });
    });
    // The process may fail while its output is still being read.
    this.end.catch(() => undefined);
    const onAbort = () => stop(abortError(signal));
    signal?.addEventListener("abort", onAbort, { once: true });
    const end = begun + limits.seconds * 1000;
    const clock = setTimeout(() => tooMuch(`${limits.seconds} seconds`), end - performance.now());
    const memory = setInterval(async () => {
      if ((await residentBytes(child.pid)) > limits.residentBytes) {
        tooMuch(`${limits.residentBytes} bytes of memory`);
      }
    }, MEMORY_INTERVAL);
    this.#close = [
      () => signal?.removeEventListener("abort", onAbort),
      () => clearTimeout(clock),
      () => clearInterval(memory),
      atExit(() => child.kill("SIGKILL")),
    ];
  }

  close(): void {
    for (const close of this.#close) close();
  }
}

/** The first line of the output, without memory addresses and without the path of the temporary file. */
async function firstLine(output: AsyncIterable<Buffer>, path: string): Promise<string | undefined> {
  let text = "";
  for await (const chunk of output) {
    if (text.length < COMPLAINT_LENGTH) text += chunk.toString("latin1").slice(0, COMPLAINT_LENGTH);
  }
  const lines = text.replaceAll(`file:${path}`, "").split(/[\r\n]+/);
  const said = lines.map((line) =>
    line
      .replace(/\[[^\]]* @ [^\]]*\]/g, "")
      .replace(/[^ -~]/g, "?")
      .replace(/^[\s:]+/, "")
      .trim(),
  );
  return said.find((line) => line !== "")?.slice(0, REASON_LENGTH);
}
