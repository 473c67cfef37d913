import { existsSync } from "node:fs";
import { z } from "zod";
import { fileNotFound } from "../../core/errors.js";
import { readJsonFile } from "../../core/json.js";
import { parse } from "../../core/schema.js";
import { applyRound, checkRound, planRound, readFedMaeConfig, trainRound } from "../../fedmae.js";
import type { CliContext } from "../context.js";
import { formatBytes, formatCount, print } from "../output/output.js";
import { noteRetry, noteRound } from "./fedmae-notes.js";

export interface PlanRoundFlags {
  readonly output: string;
  readonly json?: true;
}

/** `epalm fedmae round-plan` writes the tasks of the next round. */
export async function planRoundCommand(path: string, { output, json }: PlanRoundFlags): Promise<void> {
  const plan = await planRound(readFedMaeConfig(path), output);
  // The log of a finished run can be long, and is in its folder.
  if (json) print(JSON.stringify(plan.finished ? { ...plan, rounds: undefined } : plan));
  else if (plan.finished) print(`finished: encoder ${plan.encoder}\nreport  ${plan.report}`);
  else print(`round ${plan.round} of ${plan.rounds}: ${formatCount(plan.tasks.length)} tasks in ${output}`);
}

export interface TrainRoundFlags {
  readonly task: string;
  readonly images: string;
  readonly output: string;
  readonly minutes?: number;
  readonly json?: true;
}

/** `epalm fedmae round-client` trains a task on local images. */
export async function trainRoundCommand({ json, ...round }: TrainRoundFlags, { signal }: CliContext): Promise<void> {
  const { weights: _weights, ...update } = await trainRound({ ...round, signal });
  if (json) print(JSON.stringify(update));
  else {
    const { examples, loss, meanPatchLoss, milliseconds, peakBytes } = update;
    const losses = `loss ${loss.toFixed(4)} · patch-mean baseline ${meanPatchLoss.toFixed(4)}`;
    const cost = `${(milliseconds / 1000).toFixed(1)} s · peak ${formatBytes(peakBytes)}`;
    print(`${round.output}: ${formatCount(examples)} images · ${losses} · ${cost}`);
  }
}

export interface CheckRoundFlags {
  readonly updates: string;
  readonly reasons?: string;
  readonly json?: true;
}

/** `epalm fedmae round-check` says which updates can be averaged. */
export async function checkRoundCommand(path: string, { json, ...flags }: CheckRoundFlags): Promise<void> {
  const checked = await checkRound(readFedMaeConfig(path), updatesOf(flags));
  if (json) print(JSON.stringify(checked));
  else {
    const accepted = checked.accepted.map(({ client, block, examples }) => {
      return `${client}: block ${block}, ${formatCount(examples)} images`;
    });
    const leftOut = checked.leftOut.map(({ client, reason }) => `${client}: left out: ${reason}`);
    print([...accepted, ...leftOut].join("\n"));
  }
}

export interface ApplyRoundFlags extends CheckRoundFlags {
  readonly aggregate?: string;
  readonly attempt: number;
}

/** `epalm fedmae round-apply` averages the updates and ends the round. */
export async function applyRoundCommand(path: string, flags: ApplyRoundFlags): Promise<void> {
  const { attempt, aggregate, json } = flags;
  const outcome = await applyRound(readFedMaeConfig(path), updatesOf(flags), { attempt, aggregate });
  if (json) print(JSON.stringify(outcome));
  if (outcome.kind === "applied") noteRound(outcome.round);
  else noteRetry(outcome.retry);
}

/** Reasons are one line for each client. */
const MAX_REASONS_BYTES = 16 * 1024 * 1024;

function updatesOf({ updates, reasons }: Pick<CheckRoundFlags, "updates" | "reasons">) {
  if (reasons === undefined) return { updates };
  if (!existsSync(reasons)) throw fileNotFound(reasons);
  const json = readJsonFile(reasons, MAX_REASONS_BYTES, "invalid_option");
  return { updates, reasons: parse(z.record(z.string(), z.string()), json, reasons, "invalid_option") };
}
