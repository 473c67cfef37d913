import { randomUUID } from "node:crypto";
import type { WireText } from "../../wire.js";
import type { PromptAnswer, ResolvedPrompt } from "./resolve-prompt.js";
import type { OutputMessage, OutputText, ResponseObject } from "./responses-schema.js";
import { chatFinish, logprobsOf, unixSeconds } from "./write-openai.js";

/** An event of a stream; its type is also its name. */
type ResponseEvent = Readonly<Record<string, unknown>> & { readonly type: string };

const INDICES = { output_index: 0, content_index: 0 };

/** Writes the response to one request, whole or as events. */
export class ResponseWriter {
  readonly #start: ResponseObject;
  readonly #messageId = `msg_${randomUUID().replaceAll("-", "")}`;
  readonly #send: (event: ResponseEvent) => void;
  #sequence = 0;
  #isOpen = false;

  /** @param send receives the events of a stream; not called for a whole response */
  constructor(
    { model, ask }: Pick<ResolvedPrompt, "model" | "ask">,
    instructions: string | undefined,
    send: (event: ResponseEvent) => void = () => undefined,
  ) {
    this.#send = send;
    this.#start = {
      id: `resp_${randomUUID().replaceAll("-", "")}`,
      ...{
        object: "response",
        created_at: unixSeconds(),
        status: "in_progress",
        error: null,
        incomplete_details: null,
      },
      ...{ instructions: instructions ?? null, metadata: null, model, output: [], parallel_tool_calls: false },
      ...{ previous_response_id: null, store: false, temperature: ask.fields.temperature ?? null },
      ...{ tool_choice: "none", tools: [], top_p: ask.fields.top_p ?? null, usage: null },
    };
  }

  /** Sends the next part of the text. */
  text(delta: string): void {
    this.#open();
    this.#event("response.output_text.delta", { item_id: this.#messageId, ...INDICES, delta, logprobs: [] });
  }

  /** Sends the rest of the events. @returns the whole response */
  end({ answer, report }: PromptAnswer): ResponseObject {
    const [text = { text: answer.text, score: 0 }] = answer.texts;
    if (!this.#isOpen && text.text !== "") this.text(text.text);
    this.#open();
    const isCut = chatFinish(text) === "length";
    const status = isCut ? "incomplete" : "completed";
    const part = outputText(text);
    const item = this.#message(status, [part]);
    const { prompt_tokens, completion_tokens } = answer.usage;
    const response: ResponseObject = {
      ...this.#start,
      ...{ model: answer.model, status, incomplete_details: isCut ? { reason: "max_output_tokens" } : null },
      output: [item],
      usage: {
        ...{ input_tokens: prompt_tokens, input_tokens_details: { cached_tokens: 0 } },
        ...{ output_tokens: completion_tokens, output_tokens_details: { reasoning_tokens: 0 } },
        total_tokens: prompt_tokens + completion_tokens,
      },
      epalm: report,
    };
    const place = { item_id: this.#messageId, ...INDICES };
    this.#event("response.output_text.done", { ...place, text: part.text, logprobs: part.logprobs });
    this.#event("response.content_part.done", { ...place, part });
    this.#event("response.output_item.done", { output_index: 0, item });
    this.#event(isCut ? "response.incomplete" : "response.completed", { response });
    return response;
  }

  #open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#event("response.created", { response: this.#start });
    this.#event("response.in_progress", { response: this.#start });
    this.#event("response.output_item.added", { output_index: 0, item: this.#message("in_progress", []) });
    const part = outputText({ text: "", score: 0 });
    this.#event("response.content_part.added", { item_id: this.#messageId, ...INDICES, part });
  }

  #event(type: string, data: object): void {
    this.#send({ type, sequence_number: this.#sequence++, ...data });
  }

  #message(status: OutputMessage["status"], content: OutputText[]): OutputMessage {
    return { id: this.#messageId, type: "message", role: "assistant", status, content };
  }
}

function outputText(text: WireText): OutputText {
  return { type: "output_text", text: text.text, annotations: [], logprobs: logprobsOf(text)?.content ?? [] };
}
