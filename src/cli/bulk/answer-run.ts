import { untilAborted } from "../../core/abort.js";
import { environmentInteger } from "../../core/environment.js";
import { EpalmError } from "../../core/errors.js";
import { whileLocked } from "../../core/files/lock-path.js";
import type { Modality } from "../../core/modality.js";
import type { Answer, MediumInput, Model } from "../../index.js";
import { MAX_MEDIA_BYTES } from "../../media/media-limits.js";
import { mediaName } from "../../media/read-media.js";
import { modalitiesOf } from "../../model/encoders.js";
import { readManifest } from "../../model/manifest.js";
import type { RemoteLimits } from "../../server/requests/remote-media.js";
import { withModel } from "../actions/with-model.js";
import type { CliContext } from "../context.js";
import type { AnswerFlags } from "../options/answer-options.js";
import { namingFlag } from "../options/generation-flags.js";
import { checkModality } from "../options/modality-option.js";
import type { ModelFlags } from "../options/model-option.js";
import { formatCount, note, print } from "../output/output.js";
import { readStandardInput } from "../standard-input.js";
import { type InputOptions, RunInputs } from "./inputs.js";
import { markComplete, markIncomplete } from "./merge-parts.js";
import { lockedPath, openOutput, outputForm, outputPath } from "./open-output.js";
import { RunProgress } from "./progress.js";
import { readObject } from "./remote/s3-client.js";
import { runInOrder } from "./run-in-order.js";
import type { RunMedium } from "./run-medium.js";
import type { Reply, RunOutput, RunResult } from "./run-output.js";
import { shardOf } from "./shard.js";

/** Media in progress at the same time. With the bundled model, more make an image hardly any faster. */
const CONCURRENCY = 32;

/** The texts of an answer; only the text in its place if it was replaced. */
export function textsOf({ text, texts, abstained }: Answer): Reply["texts"] {
  return abstained ? [{ text, score: texts[0]?.score ?? 0 }] : texts;
}

interface RequestOptions {
  readonly question: string | undefined;
  readonly modality: Modality | undefined;
  readonly signal: AbortSignal;
  /** Defined if the text is shown while it is generated. */
  readonly onText: ((piece: string) => void) | undefined;
}

/** Sends a request to the model. */
export type AskModel = (medium: MediumInput, options: RequestOptions) => Promise<Reply>;

/** The requests of one command. */
interface AnswerRun {
  readonly inputs: RunInputs;
  readonly flags: AnswerFlags;
  readonly context: CliContext;
  readonly model: Model;
  readonly ask: AskModel;
  /** The limits on media that are URLs; undefined without `--allow-host`. */
  readonly remote: RemoteLimits | undefined;
}

type Asked = Pick<InputOptions, "files" | "asked" | "questions">;

/**
 * Sends requests about media to a model, many at the same time, and writes the answers in the order of the media. If a
 * medium cannot be read, the others are still processed. With `--dry-run`, it only lists the media, without a model.
 *
 * @throws in_use if another process writes to the same output; invalid_option
 */
export async function answerMedia(
  asked: Asked,
  flags: AnswerFlags & ModelFlags,
  context: CliContext,
  askWith: (model: Model) => AskModel,
): Promise<void> {
  const remote = flags.allowHost && (await remoteFiles()).remoteLimits(flags.allowHost);
  if (flags.dryRun) {
    const manifest = readManifest(flags.model);
    const inputs = inputsOf(asked, flags, context, modalitiesOf(manifest));
    await inputs.check();
    return listMedia(inputs, flags, manifest.name, context);
  }
  await withModel(flags, context, async (model) => {
    const inputs = inputsOf(asked, flags, context, model.modalities);
    await inputs.check();
    return whileLocked(lockedPath(inputs, flags), () =>
      answerAll({ inputs, flags, context, model, ask: askWith(model), remote }),
    );
  });
}

/** @throws invalid_option if the model does not accept the modality of `--modality`, or for an unusable `--shard` */
function inputsOf(
  asked: Asked,
  flags: AnswerFlags,
  { environment }: CliContext,
  modalities: readonly Modality[],
): RunInputs {
  checkModality(flags, { modalities });
  const { modality, include, exclude, column, null: endsWithNul, shard } = flags;
  return new RunInputs({
    ...{ ...asked, modality, modalities, include, exclude, column, endsWithNul },
    shard: shard && shardOf(shard, environmentInteger("JOB_COMPLETION_INDEX", environment.jobIndex)),
    unique: outputForm(flags) !== "printed",
  });
}

async function answerAll(run: AnswerRun): Promise<void> {
  const { inputs, flags, context, model } = run;
  const output = await openOutput(inputs, flags, model.manifest.name);
  const part = inputs.shard && outputForm(flags) === "records" ? outputPath(inputs, flags) : undefined;
  if (part !== undefined) await markIncomplete(part);
  const sharesTerminal = outputForm(flags) === "printed" && process.stdout.isTTY;
  const progress = new RunProgress(!inputs.isOne && !sharesTerminal);
  const counting = new AbortController();
  if (!inputs.isOne)
    void inputs.count(counting.signal).then(
      (total) => (progress.total = total),
      () => undefined,
    );
  const open = new OpenMedia(inputs, output, progress);
  try {
    await runInOrder(
      open.media(),
      { concurrency: concurrencyOf(flags), signal: context.signal, sizeOf },
      (medium, signal) => answerMedium(run, output, medium, signal),
      async (medium, results) => {
        const messages = new Set<string>();
        for (const { error } of results) {
          if (error && !messages.has(error.message)) progress.aside(() => context.reportError(error));
          if (error) messages.add(error.message);
        }
        await output.write(medium, results);
        progress.medium(messages.size === 0);
      },
    );
  } catch (error) {
    throw namingFlag(error);
  } finally {
    counting.abort();
    inputs.close();
    progress.stop();
    await output.close();
  }
  if (part !== undefined) await markComplete(part, inputs.questionsPerFile);
  open.report();
}

/** With 1, every request is computed alone. */
function concurrencyOf({ stream, concurrency = CONCURRENCY }: AnswerFlags): number {
  return stream ? 1 : concurrency;
}

/** Prints the media that a run would process. */
async function listMedia(
  inputs: RunInputs,
  flags: AnswerFlags,
  model: string,
  { reportError }: CliContext,
): Promise<void> {
  const open = new OpenMedia(inputs, await openOutput(inputs, flags, model, true));
  for await (const { file, source } of open.media()) {
    if (source.kind === "unreadable") reportError(source.error);
    else print(file);
  }
  open.report();
}

/** The media of a run that an output does not contain yet. */
class OpenMedia {
  #requests = 0;
  #answered = 0;

  constructor(
    private readonly inputs: RunInputs,
    private readonly output: RunOutput,
    private readonly progress?: RunProgress,
  ) {}

  async *media(): AsyncGenerator<RunMedium> {
    for await (const unit of this.inputs.units()) {
      let isSkipped = true;
      for await (const medium of this.inputs.media(unit)) {
        const questions = medium.questions.filter((question) => this.output.begin(medium, question));
        this.#requests += medium.questions.length;
        this.#answered += medium.questions.length - questions.length;
        if (questions.length === 0) continue;
        isSkipped = false;
        const error = this.output.refuse?.(medium);
        yield { ...medium, questions, ...(error ? { source: { kind: "unreadable", error } } : {}) };
      }
      this.progress?.unit(isSkipped);
    }
  }

  /** Says how many requests needed no work. */
  report(): void {
    if (this.#answered === 0) return;
    note(`${formatCount(this.#answered)} of ${formatCount(this.#requests)} were already answered`);
  }
}

function sizeOf({ source, members }: RunMedium): number {
  const own = source.kind === "bytes" ? source.bytes.length : 0;
  return Array.from(members?.values() ?? []).reduce((sum, { length }) => sum + length, own);
}

async function answerMedium(
  run: AnswerRun,
  output: RunOutput,
  medium: RunMedium,
  signal: AbortSignal,
): Promise<RunResult[]> {
  const { flags, model, ask } = run;
  const { questions, modality } = medium;
  let input: string | Uint8Array = "";
  const failed = (error: unknown, question: string | undefined): RunResult => {
    const own = errorAboutOne(error, input, medium, run);
    if (!own) throw error;
    return { question, error: own };
  };
  try {
    input = await readSource(medium, run, signal);
    refuseUntaken(medium, model);
    // Several questions share one encoding.
    const encoded =
      questions.length > 1 ? await model.encode(input, { adapter: flags.adapter, modality, signal }) : undefined;
    const answer = async (question: string | undefined): Promise<RunResult> => {
      const { streaming } = output;
      const onText = streaming && ((piece: string) => streaming.onText(piece, medium, question));
      try {
        const own = AbortSignal.any([signal]);
        const reply = await ask(encoded ?? input, { question, modality, signal: own, onText });
        streaming?.onEnd(medium, question);
        return { question, reply: encoded ? withTimings(reply, encoded.timings) : reply };
      } catch (error) {
        return failed(error, question);
      }
    };
    if (concurrencyOf(flags) > 1) return await Promise.all(questions.map(answer));
    const results: RunResult[] = [];
    for (const question of questions) results.push(await answer(question));
    return results;
  } catch (error) {
    return questions.map((question) => failed(error, question));
  }
}

/** Adds the time of an encoding that several answers share. */
function withTimings({ texts, whole }: Reply, timings: { readonly media: number; readonly encoder: number }): Reply {
  return { texts, whole: { ...whole, timings: { ...whole.timings, ...timings } } };
}

/** Most runs fetch nothing, and start sooner without the code for it. */
function remoteFiles() {
  return import("./remote/https-file.js");
}

/** The path of a medium or its content. @throws invalid_option, invalid_media; the error of a medium that has none */
async function readSource(
  { source }: RunMedium,
  { remote, context }: AnswerRun,
  signal: AbortSignal,
): Promise<string | Uint8Array> {
  switch (source.kind) {
    case "path":
      return source.path;
    case "url":
      return (await remoteFiles()).fetchFile(source.url, remote, signal, context.network);
    case "object":
      return readObject(source.name, { maxBytes: MAX_MEDIA_BYTES, signal });
    case "bytes":
      return source.bytes;
    case "unreadable":
      throw source.error;
    case "standard input": {
      const bytes = await untilAborted(readStandardInput(MAX_MEDIA_BYTES), signal);
      // Empty input has no format, and would be reported as an unsupported medium.
      if (bytes.length === 0) throw new EpalmError("invalid_media", "standard input is empty");
      return bytes;
    }
  }
}

/** Rejects a line of a file of questions whose modality the model does not accept. */
function refuseUntaken({ file, source, modality }: RunMedium, { modalities }: Model): void {
  if (modality === undefined || modalities.includes(modality)) return;
  const expected = `expected ${modalities.join(" or ")}, which the model accepts, got ${modality}`;
  throw new EpalmError("invalid_option", `${source.kind === "path" ? source.path : file}: ${expected}`);
}

/**
 * Returns an error that concerns only this medium: the library's errors about a file begin with its name, only this
 * question may be too long, or the adapter may be missing only for this modality. Undefined for errors that every
 * medium would cause.
 */
function errorAboutOne(
  error: unknown,
  input: string | Uint8Array,
  { file, source }: RunMedium,
  { inputs, flags, model }: AnswerRun,
): EpalmError | undefined {
  if (!(error instanceof EpalmError)) return undefined;
  const { code, message } = error;
  if (source.kind === "url" && input === "" && code !== "aborted") return error;
  if (source.kind === "unreadable" || (source.kind === "standard input" && code === "invalid_media" && input === "")) {
    return error;
  }
  // Credentials that are missing or refused concern all objects.
  if (source.kind === "object" && input === "" && code !== "unauthorized" && code !== "aborted") return error;
  const about = `${mediaName(input)}: `;
  if (message.startsWith(about)) {
    if (typeof input === "string") return error;
    const name = source.kind === "standard input" ? "standard input" : file;
    return new EpalmError(code, `${name}: ${message.slice(about.length)}`, { cause: error });
  }
  if (code === "unfamiliar") {
    return new EpalmError(code, `${file}: ${message.slice("media: ".length)}`, { cause: error });
  }
  if (inputs.hasOwnQuestions && (code === "too_large" || message.startsWith("question: "))) return error;
  const lacksAdapter = code === "not_found" && flags.adapter === undefined && model.modalities.length > 1;
  return lacksAdapter ? new EpalmError(code, `${file}: ${message}`, { cause: error }) : undefined;
}
