import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Writes `NAME.json`, the config of a short run in this folder, which contains the folder `model` and the data, and
 * returns its path. `changes` replace whole keys.
 */
export function writeTrainingConfig(folder: string, name: string, changes: object): string {
  const path = join(folder, `${name}.json`);
  const settings = {
    model: "model",
    output: name,
    data: { train: { path: "train.jsonl" }, validation: { path: "validation.jsonl" } },
    adapter: { name, injectedStates: 3, startLayer: 3, endLayer: 6 },
    optimizer: { learningRate: 0.01 },
    batchSize: 4,
    checkpointEvery: 2,
    install: false,
    ...changes,
  };
  writeFileSync(path, JSON.stringify(settings));
  return path;
}

/** The loss per token of each step of a run, from the log in its output folder. */
export function lossesOf(output: string): number[] {
  const lines = readFileSync(join(output, "log.jsonl"), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line)).flatMap(({ kind, tokenLoss }) => (kind === "step" ? [tokenLoss] : []));
}
