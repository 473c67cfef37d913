import { optionTable } from "../../generation/option-table.js";
import { textCost } from "../../generation/request-cost.js";
import type { Manifest, TaskName } from "../../model/manifest.js";
import type { GenerationFields } from "../../wire.js";
import type { ServerConfig } from "../config.js";
import { FieldError } from "../http/problem.js";

/** Fields on which the cost of a request depends. */
interface CostFields extends GenerationFields {
  readonly question?: string | readonly string[] | undefined;
  readonly candidates?: readonly string[] | undefined;
}

/** What a request costs beyond its fields. */
interface CostOfModel extends Pick<Manifest, "tasks"> {
  /** Visual tokens of the medium, which every question has. Default: 0. */
  readonly visualTokens?: number | undefined;
  /** Other texts of a conversation. Default: none. */
  readonly texts?: readonly string[] | undefined;
}

/** An average of English text; the tokenizer is in another thread, and the scheduler counts the actual tokens. */
const BYTES_PER_TOKEN = 4;

/** Checks the cost of all texts of a request together, before its medium is processed. @throws too_large */
export function checkCost(
  task: TaskName,
  fields: CostFields,
  { tasks, visualTokens = 0, texts = [] }: CostOfModel,
  { requestCost }: Pick<ServerConfig["limits"], "requestCost">,
): void {
  const { question = "", candidates } = fields;
  const questions = typeof question === "string" ? [question] : question;
  const before = visualTokens + texts.reduce((sum, text) => sum + tokensIn(text), 0);
  const work = candidates ? rankingWork(candidates) : generationWork(fields, tasks[task].generation);
  const cost = questions.reduce((sum, text) => sum + textCost({ promptTokens: before + tokensIn(text), ...work }), 0);
  if (cost <= requestCost) return;
  const { sequences, tokensPerSequence } = work;
  const ofMedium = visualTokens > 0 ? ` and the ${visualTokens} of the medium` : "";
  const what = candidates
    ? `for each question, its tokens${ofMedium}, and those of all candidates (about ${tokensPerSequence})`
    : `for each question, its tokens${ofMedium}, and ${sequences} (beams or n) times ${tokensPerSequence} (max_tokens)`;
  throw new FieldError(
    "too_large",
    candidates ? "candidates" : "max_tokens",
    `the request costs ${cost} tokens, and at most ${requestCost} are permitted; these are, ${what}; ` +
      `the number of questions is ${questions.length}`,
  );
}

function generationWork(
  { beams, n = 1, temperature = 0, max_tokens }: GenerationFields,
  defaults: Manifest["tasks"][TaskName]["generation"],
) {
  const searched = temperature > 0 ? 1 : (beams ?? defaults.beams ?? optionTable.beams.default);
  const tokensPerSequence = max_tokens ?? defaults.maxNewTokens ?? optionTable.maxNewTokens.default;
  return { sequences: Math.max(searched, n), tokensPerSequence };
}

/** Candidates continue the same prompt, each with its tokens and an end token. */
function rankingWork(candidates: readonly string[]) {
  return { sequences: 1, tokensPerSequence: candidates.reduce((sum, text) => sum + tokensIn(text) + 1, 0) };
}

function tokensIn(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
}
