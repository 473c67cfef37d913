import type { Model } from "../../index.js";
import { type GenerationFields, generationFields } from "../../wire.js";
import type { ServerConfig } from "../config.js";
import { FieldError } from "../http/problem.js";
import type { AskRequest, VqaAsk } from "./ask-request.js";
import { checkCost } from "./check-cost.js";
import { modalityOf } from "./medium.js";

type Limits = ServerConfig["limits"];

/** Checks limits and combinations that the schemas do not cover. @throws too_large, invalid_option */
export function checkAsk({ task, fields, medium, messages = [] }: AskRequest, model: Model, limits: Limits): void {
  checkGeneration(fields, limits);
  if (task === "vqa") checkVqa(fields, limits);
  const visualTokens = model.visualTokens({ adapter: fields.adapter, modality: modalityOf(medium) });
  const earlier = messages.slice(0, -1).flatMap(({ content }) => content);
  const texts = earlier.flatMap((part) => ("text" in part ? [part.text] : []));
  checkCost(task, fields, { tasks: model.manifest.tasks, visualTokens, texts }, limits);
}

/** @throws too_large for more tokens than the service allows */
function checkGeneration({ max_tokens = 0 }: GenerationFields, limits: Limits): void {
  if (max_tokens <= limits.newTokens) return;
  throw new FieldError("too_large", "max_tokens", `expected at most ${limits.newTokens}, got ${max_tokens}`);
}

function checkVqa(request: VqaAsk["fields"], limits: Limits): void {
  const { question, candidates = [] } = request;
  if (typeof question !== "string") checkCount("question", question, limits.questions);
  checkCount("candidates", candidates, limits.candidates);
  checkLengths("question", typeof question === "string" ? [question] : question, limits.questionLength);
  checkLengths("candidates", candidates, limits.questionLength);
  checkModes(request);
}

function checkCount(field: string, texts: readonly string[], most: number): void {
  if (texts.length <= most) return;
  throw new FieldError("too_large", field, `expected at most ${most} strings, got ${texts.length}`);
}

function checkLengths(field: string, texts: readonly string[], most: number): void {
  const long = texts.find((text) => text.length > most);
  if (long === undefined) return;
  throw new FieldError("too_large", field, `expected at most ${most} characters, got ${long.length}`);
}

/** Generation options cannot be combined with candidates, nor can `rank_by` be used without them. */
function checkModes(request: VqaAsk["fields"]): void {
  if (!request.candidates) {
    if (request.rank_by === undefined) return;
    throw new FieldError("invalid_option", "rank_by", "requires candidates");
  }
  const writing = new Set([...Object.keys(generationFields), "stream", "logprobs"]);
  const [given] = Object.entries(request).filter(([name, value]) => writing.has(name) && value !== undefined);
  if (given) throw new FieldError("invalid_option", given[0], "cannot be combined with candidates");
}
