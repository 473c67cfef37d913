import { SingleBar } from "cli-progress";
import type { DeviceChoice } from "../../core/device.js";
import { readTrainingConfig, type TaskName, type TrainingConfig, type TrainingPlan, trainModel } from "../../index.js";
import type { CliContext } from "../context.js";
import { formatScores } from "../output/format-scores.js";
import { formatCount, formatShare, note, print } from "../output/output.js";
import { formatCalibration } from "./calibrate.js";

export interface TrainFlags {
  readonly output?: string;
  readonly blind?: true;
  readonly skipBad?: true;
  readonly replace?: true;
  readonly device?: DeviceChoice;
  readonly json?: true;
}

/** `epalm train` trains an adapter. */
export async function trainCommand(path: string, flags: TrainFlags, { signal }: CliContext): Promise<void> {
  const read = readTrainingConfig(path);
  const config = {
    ...read,
    output: flags.output ?? read.output,
    blind: flags.blind ?? read.blind,
    // A text-only baseline serves only for comparison, so it is not installed in the model folder.
    install: read.install && !flags.blind,
    skipBad: flags.skipBad ?? read.skipBad,
    replace: flags.replace ?? read.replace,
    device: flags.device ?? read.device,
  };
  const progress = new TrainingProgress();
  try {
    const result = await trainModel(config, {
      signal,
      onPlan: (plan) => tellPlan(plan),
      onBaseline: () => note("text-only baseline:"),
      onEncoding: (done, all) => progress.encoding(done, all),
      onStep: (report) => progress.step(report),
      onEpoch: (epoch, scores) => progress.say(`epoch ${epoch}: ${formatScores(scores)}`),
    });
    progress.stop();
    if (flags.json) {
      const { adapterFile: adapter, lastAdapterFile: last, reportFile: report, epoch, scores } = result;
      print(
        JSON.stringify({
          adapter,
          last,
          report,
          epoch,
          scores,
          baselineScores: result.baselineScores,
          calibration: result.calibration,
        }),
      );
    } else {
      print(`adapter ${result.adapterFile}\nreport  ${result.reportFile}`);
      if (config.keep === "best") print(`kept    epoch ${result.epoch}: ${formatScores(result.scores)}`);
      if (result.baselineScores) print(`text-only baseline: ${formatScores(result.baselineScores)}`);
      if (result.calibration) print(`calibration\n${formatCalibration(result.calibration)}`);
      if (config.install) print(usageOf(config, result.tasks));
    }
  } finally {
    progress.stop();
  }
}

/** How to use the adapter for what it was trained for. */
function usageOf({ model, adapter }: TrainingConfig, tasks: readonly TaskName[]): string {
  const commands = { caption: "epalm caption FILE", vqa: "epalm vqa FILE -q QUESTION" } as const;
  return tasks.map((task) => `to use it: ${commands[task]} -m ${model} --adapter ${adapter.name}`).join("\n");
}

function tellPlan(plan: TrainingPlan): void {
  note(
    `${formatCount(plan.examples)} training examples (${plan.modality}), ${formatCount(plan.validationExamples)} validation examples`,
  );
  if (plan.skipped.length > 0) note(`invalid examples skipped: ${formatCount(plan.skipped.length)}`);
  for (const { where, cause } of plan.skipped) note(`  ${where}: ${cause}`);
  note(
    `trained: ${formatCount(plan.trainedParameters)} of ${formatCount(plan.trainedParameters + plan.frozenParameters)} parameters, ${formatShare(plan.trainedShare)}`,
  );
  if (plan.resumedFrom > 0) note(`resuming after step ${formatCount(plan.resumedFrom)}`);
}

/** A progress bar on a terminal; elsewhere, a line every ten seconds. */
class TrainingProgress {
  #bar: SingleBar | undefined;
  #examples = 0;
  #milliseconds = 0;

  encoding(done: number, all: number): void {
    const bar = this.#open("encoder {bar} {value}/{total} media · {eta_formatted} left", all, done - 1);
    bar.update(done);
    if (done === all) this.stop();
  }

  step(report: { step: number; steps: number; tokenLoss: number; examples: number; milliseconds: number }): void {
    this.#examples += report.examples;
    this.#milliseconds += report.milliseconds;
    const format = "step {value}/{total} {bar} loss {loss} · {rate} examples/s · {eta_formatted} left";
    const loss = report.tokenLoss.toFixed(3);
    const rate = (this.#examples / (this.#milliseconds / 1000)).toFixed(1);
    this.#open(format, report.steps, report.step - 1, { loss, rate }).update(report.step, { loss, rate });
  }

  /** Writes a line that remains on the terminal. */
  say(line: string): void {
    this.stop();
    note(line);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #open(format: string, total: number, done: number, payload: Record<string, string> = {}): SingleBar {
    if (this.#bar) return this.#bar;
    this.#bar = new SingleBar({
      format,
      stream: process.stderr,
      noTTYOutput: true,
      notTTYSchedule: 10_000,
      etaBuffer: 100,
    });
    this.#bar.start(total, done, payload);
    return this.#bar;
  }
}
