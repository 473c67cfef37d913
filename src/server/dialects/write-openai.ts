import { randomUUID } from "node:crypto";
import type { Manifest } from "../../index.js";
import { capabilitiesOf } from "../../model/capabilities.js";
import { adapterModality } from "../../model/encoders.js";
import type { ModelList, Usage, WireText } from "../../wire.js";
import type { Models } from "../models.js";
import type { ChatChunk, ChatCompletion, ChatLogprobs, ChatUsage } from "./openai-schema.js";
import type { PromptAnswer } from "./resolve-prompt.js";

/** An answer in the format of OpenAI. */
export function completion({ answer, report }: PromptAnswer): ChatCompletion {
  return {
    ...head(answer.model),
    object: "chat.completion",
    choices: answer.texts.map((text, index) => ({
      index,
      message: { role: "assistant", content: text.text, refusal: null },
      logprobs: logprobsOf(text),
      finish_reason: chatFinish(text),
    })),
    usage: chatUsage(answer.usage),
    epalm: report,
  };
}

/** Converts a stream of text to chunks in the format of OpenAI. */
export class ChunkWriter {
  readonly #common: Pick<ChatChunk, "id" | "created" | "model" | "object">;
  readonly #includeUsage: boolean;
  readonly #send: (chunk: ChatChunk) => void;
  #isOpen = false;

  constructor(model: string, includeUsage: boolean, send: (chunk: ChatChunk) => void) {
    this.#common = { ...head(model), object: "chat.completion.chunk" };
    this.#includeUsage = includeUsage;
    this.#send = send;
  }

  /** Sends the next part of text `index`. */
  text(index: number, content: string): void {
    const role = this.#isOpen && index === 0 ? {} : { role: "assistant" as const };
    this.#isOpen = true;
    this.#send(this.#chunk({ index, delta: { ...role, content } }));
  }

  /** Sends the texts that have not been sent, the reasons why they ended, the usage and the report. */
  end({ answer, report }: PromptAnswer): void {
    const last = answer.texts.length - 1;
    for (const [index, text] of answer.texts.entries()) {
      if (index > 0 || !this.#isOpen) this.text(index, text.text);
      const chunk = this.#chunk({ index, finish_reason: chatFinish(text), logprobs: logprobsOf(text) });
      this.#send(index === last && !this.#includeUsage ? { ...chunk, epalm: report } : chunk);
    }
    if (!this.#includeUsage) return;
    this.#send({ ...this.#common, choices: [], usage: chatUsage(answer.usage), epalm: report });
  }

  #chunk(choice: Partial<ChatChunk["choices"][number]>): ChatChunk {
    return {
      ...this.#common,
      choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: null, ...choice }],
      ...(this.#includeUsage ? { usage: null } : {}),
    };
  }
}

function head(model: string): { readonly id: string; readonly created: number; readonly model: string } {
  return { id: `chatcmpl-${randomUUID()}`, created: unixSeconds(), model };
}

/** The tokens of a text, if they were requested. */
export function logprobsOf({ tokens }: WireText): ChatLogprobs | null {
  if (!tokens) return null;
  const content = tokens.map(({ top = [], ...token }) => ({
    ...chatLogprob(token),
    top_logprobs: top.map(chatLogprob),
  }));
  return { content, refusal: null };
}

function chatLogprob({ text, log_prob }: { readonly text: string; readonly log_prob: number }) {
  return { token: text, logprob: log_prob, bytes: Array.from(Buffer.from(text)) };
}

/** OpenAI uses the same value for an end token and for a stop string. */
export function chatFinish({ finish_reason }: WireText): "stop" | "length" {
  return finish_reason === "length" ? "length" : "stop";
}

function chatUsage({ prompt_tokens, completion_tokens }: Usage): ChatUsage {
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

type ModelProperties = ModelList["data"][number]["epalm"];
type ServedAdapter = ModelProperties["adapters"][number];

/** All names that requests may use. */
export function modelList(models: Models, created: number): ModelList {
  const data = models.served.map(({ id, model: { manifest, modalities }, adapter: forced }) => {
    const adapters = Object.entries(manifest.adapters)
      .filter(([name]) => forced === undefined || name === forced)
      .map(([name, adapter]) => ({ name, tasks: adapter.tasks, modality: adapterModality(manifest, adapter) }));
    const taken = forced === undefined ? [...modalities] : adapters.map(({ modality }) => modality);
    return {
      ...{ id, object: "model" as const, created, owned_by: "epalm" },
      epalm: { modalities: taken, adapters, capabilities: capabilities(manifest, adapters) },
    };
  });
  return { object: "list", data };
}

/** What the manifest says that these adapters can do. */
function capabilities(manifest: Manifest, adapters: readonly ServedAdapter[]): ModelProperties["capabilities"] {
  return capabilitiesOf(manifest)
    .filter(({ task, modality }) => adapters.some((one) => one.tasks.includes(task) && one.modality === modality))
    .map(({ task, modality, description, exampleQuestions }) => {
      return { task, modality, description, example_questions: [...exampleQuestions] };
    });
}

export function unixSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
