import { type ChildProcessByStdio, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { abortError, throwIfAborted } from "../../../core/abort.js";
import { atExit } from "../../../core/at-exit.js";
import { EpalmError, messageOf } from "../../../core/errors.js";
import { findFfmpeg } from "./find-ffmpeg.js";
import type { MediaFile } from "./media-file.js";

export interface RunLimits {
  /** By the clock, for all runs on a medium together. */
  readonly seconds: number;
  /** In bytes; only Linux tells how much memory a process has: elsewhere the limits per block and frame have to do. */
  readonly residentBytes: number;
}

/**
 * What epalm needs for takes a few seconds at most, but a service that is full has several runs beside each other. Of
 * the largest frames, thirty fit.
 */
const usualLimits: RunLimits = { seconds: 60, residentBytes: 1 << 30 };

/** The system itself ends a run after so much computing, even when this process is gone. In seconds. */
const PROCESSOR_SECONDS = 60;

/** The largest block of memory that ffmpeg needs for at once: tables of a size that only a damaged file states. */
const MAX_BLOCK_BYTES = 256 << 20;

/** Each thread of a video decoder holds frames of its own. */
const THREADS = 2;

/** Milliseconds between two looks at a run's memory. */
const MEMORY_INTERVAL = 50;

/** Of what ffmpeg complains, the beginning says why. In UTF-16 units. */
const COMPLAINT_LENGTH = 4096;
const REASON_LENGTH = 200;

/**
 * Decoders that may be tried, under the names of old and new builds. ffmpeg has hundreds more, of formats that hardly
 * anyone has and hardly anyone looks after: those are where holes are found.
 */
const codecs = [
  "aac,aac_fixed,aac_latm,ac3,eac3,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,dca,flac,gsm,gsm_ms,libgsm",
  "libgsm_ms,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,speex,libspeex,vorbis,libvorbis,wavpack",
  "wmav1,wmav2,wmapro,wmalossless,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf",
  "pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_s8,pcm_u8",
  "pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le",
  "av1,libaom-av1,libdav1d,dnxhd,dvvideo,ffv1,flv,h263,h264,hevc,huffyuv,mjpeg,mpeg1video,mpeg2video,mpeg4",
  "msmpeg4v1,msmpeg4v2,msmpeg4,png,prores,qtrle,rawvideo,theora,libtheora,vc1,vp6,vp6f,vp8,libvpx,vp9,libvpx-vp9",
  "wmv1,wmv2,wmv3",
].join(",");

/** How ffmpeg reads a medium: as what it was taken for, and nothing but the file itself. */
export function inputArguments({ path, container }: MediaFile, seek: readonly string[] = []): string[] {
  const { demuxer } = container;
  return [
    ...["-protocol_whitelist", "file", "-format_whitelist", demuxer, "-codec_whitelist", codecs],
    // Tracks whose content is said to be in another file.
    ...(demuxer === "mov" ? ["-enable_drefs", "0", "-use_absolute_path", "0"] : []),
    ...["-threads", String(THREADS), ...seek, "-f", demuxer, "-i", `file:${path}`],
  ];
}

export interface FfmpegRun<T> {
  /** The medium that `arguments` read. */
  readonly file: MediaFile;
  /** Without what holds for every run. */
  readonly arguments: readonly string[];
  readonly signal?: AbortSignal | undefined;
  /** Takes what ffmpeg writes to its standard output, at its own pace; may stop before the end. */
  readonly read: (output: AsyncIterable<Buffer>) => Promise<T>;
  /** Default: a minute, a gibibyte. */
  readonly limits?: RunLimits | undefined;
}

export interface FfmpegResult<T> {
  readonly value: T;
  /** What ffmpeg complained of first, on one line; it goes on over what it can. */
  readonly complaint: string | undefined;
}

/**
 * Runs ffmpeg on a medium. When this settles the process is gone, whatever happened; it gets nothing of this process's
 * environment.
 *
 * @throws too_large (time, memory), aborted, invalid_media (ffmpeg crashed), what `read` and `findFfmpeg` throw
 */
export async function runFfmpeg<T>(run: FfmpegRun<T>): Promise<FfmpegResult<T>> {
  const { file, signal, limits = usualLimits } = run;
  const { path } = await findFfmpeg();
  throwIfAborted(signal);
  const child = spawn(path, [...commonArguments(), ...run.arguments], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {},
    windowsHide: true,
  });
  const watch = new Watch(child, file, limits, signal);
  const complaint = firstLine(child.stderr, file.path).catch(() => undefined);
  try {
    const value = await run.read(child.stdout);
    const killedBy = await watch.end;
    // SIGPIPE: it had more to say than `read` wanted.
    if (killedBy !== undefined && killedBy !== "SIGPIPE") {
      throw new EpalmError("invalid_media", `${file.where}: cannot be decoded: ffmpeg ended with ${killedBy}`);
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

function commonArguments(): string[] {
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", "error"],
    ...["-timelimit", String(PROCESSOR_SECONDS), "-max_alloc", String(MAX_BLOCK_BYTES)],
  ];
}

type Child = ChildProcessByStdio<null, Readable, Readable>;

/** Ends a run that takes too much, or that nobody waits for any more. */
class Watch {
  /** Why the run was ended, where it was. */
  reason: EpalmError | undefined;
  /** Settles when the process is gone, with the signal that it died of. */
  readonly end: Promise<NodeJS.Signals | undefined>;
  readonly #close: readonly (() => void)[];

  constructor(child: Child, { where, begun }: MediaFile, limits: RunLimits, signal: AbortSignal | undefined) {
    const stop = (reason: EpalmError) => {
      this.reason ??= reason;
      child.kill("SIGKILL");
    };
    const tooMuch = (what: string) =>
      stop(new EpalmError("too_large", `${where}: expected to be decoded within ${what}`));
    this.end = new Promise((resolve, reject) => {
      child.once("error", (error) => {
        this.reason ??= new EpalmError("internal", `ffmpeg cannot be started: ${messageOf(error)}`);
        reject(this.reason);
      });
      child.once("close", (_, killedBy) => {
        if (killedBy === "SIGXCPU") tooMuch(`${PROCESSOR_SECONDS} seconds of computing`);
        if (this.reason === undefined) resolve(killedBy ?? undefined);
        else reject(this.reason);
      });
    });
    // It may fail while its output is still read.
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

/** 0 where the system does not tell. */
async function residentBytes(processId: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${processId}/status`, "latin1").catch(() => "");
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Without addresses in memory, and without the path of a file that the user never gave. */
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
