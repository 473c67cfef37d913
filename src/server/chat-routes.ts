import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyReply } from "fastify";
import type { ModelList, TextAnswer, Usage, VqaRequest, WireText } from "../wire.js";
import { captionAnswer, type Scene, vqaAnswer } from "./answer.js";
import {
  type ChatChunk,
  type ChatCompletion,
  type ChatLogprobs,
  type ChatRequest,
  type ChatUsage,
  chatRequest,
} from "./chat-schema.js";
import { checkGeneration, checkVqa } from "./check-request.js";
import { sendEvents } from "./event-stream.js";
import type { Models } from "./models.js";
import { type ChatQuestion, readChat } from "./read-chat.js";
import { parseFields } from "./read-request.js";
import { answerInTurn, type Service } from "./service.js";
import { workOf } from "./work.js";

/** `POST /v1/chat/completions` and `GET /v1/models`: what clients of OpenAI's interface call. */
export function chatRoutes(app: FastifyInstance, service: Service): void {
  const started = unixSeconds();
  app.get("/v1/models", () => modelList(service.models, started));
  app.post("/v1/chat/completions", { onRequest: service.workload.enter }, async (request, reply) => {
    const body = parseFields<ChatRequest>(request.body, chatRequest);
    const chat = readChat(body);
    checkGeneration(chat.fields, service.config.limits);
    if (chat.question !== undefined)
      checkVqa({ ...chat.fields, question: chat.question }, service.config.limits);
    const ask = (onText: Scene["onText"]) =>
      answerInTurn(
        service,
        { model: body.model, medium: chat.medium, work: workOf(request), onText },
        (scene) => answerChat(scene, chat),
      );
    if (body.stream) return streamChat(reply, body, service.models.get(body.model).name, ask);
    return completion(await ask(undefined));
  });
}

async function answerChat(scene: Scene, { question, fields }: ChatQuestion): Promise<TextAnswer> {
  if (question === undefined) return captionAnswer(scene, fields);
  const request: VqaRequest = { ...fields, question };
  const answer = await vqaAnswer(scene, request);
  return "answers" in answer ? { text: "", texts: [], ...answer.answers[0], ...answer } : answer;
}

function completion(answer: TextAnswer): ChatCompletion {
  return {
    ...head(answer.model),
    object: "chat.completion",
    choices: answer.texts.map((text, index) => ({
      index,
      message: { role: "assistant", content: text.text, refusal: null },
      logprobs: logprobsOf(text),
      finish_reason: text.finish_reason ?? "stop",
    })),
    usage: chatUsage(answer.usage),
  };
}

function streamChat(
  reply: FastifyReply,
  { stream_options, n = 1 }: ChatRequest,
  model: string,
  ask: (onText: Scene["onText"]) => Promise<TextAnswer>,
): Promise<FastifyReply> {
  const withUsage = stream_options?.include_usage === true;
  const common = { ...head(model), object: "chat.completion.chunk" as const };
  const chunk = (choice: Partial<ChatChunk["choices"][number]>): ChatChunk => ({
    ...common,
    choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: null, ...choice }],
    ...(withUsage ? { usage: null } : {}),
  });
  return sendEvents(reply, async (send) => {
    let isOpen = false;
    const sendText = (index: number, content: string) => {
      const role = isOpen && index === 0 ? {} : { role: "assistant" as const };
      isOpen = true;
      send(undefined, chunk({ index, delta: { ...role, content } }));
    };
    // Of several texts the best is known only at the end, and with it which is the first.
    const answer = await ask(n === 1 ? (_, piece) => sendText(0, piece) : undefined);
    for (const [index, text] of answer.texts.entries()) {
      if (index > 0 || !isOpen) sendText(index, text.text);
      const finish_reason = text.finish_reason ?? "stop";
      send(undefined, chunk({ index, finish_reason, logprobs: logprobsOf(text) }));
    }
    if (withUsage)
      send(undefined, { ...common, choices: [], usage: chatUsage(answer.usage) } satisfies ChatChunk);
    send(undefined, "[DONE]");
  });
}

function head(model: string): { readonly id: string; readonly created: number; readonly model: string } {
  return { id: `chatcmpl-${randomUUID()}`, created: unixSeconds(), model };
}

function logprobsOf({ tokens }: WireText): ChatLogprobs | null {
  if (!tokens) return null;
  const content = tokens.map(({ text, log_prob }) => ({
    token: text,
    logprob: log_prob,
    bytes: Array.from(Buffer.from(text)),
    top_logprobs: [],
  }));
  return { content, refusal: null };
}

function chatUsage(
  { prompt_tokens, completion_tokens }: Usage = { prompt_tokens: 0, completion_tokens: 0 },
): ChatUsage {
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

function modelList(models: Models, created: number): ModelList {
  const data = Array.from(models.entries, ([id, { manifest }]) => ({
    id,
    object: "model" as const,
    created,
    owned_by: "epalm",
    epalm: {
      modality: manifest.encoder.modality,
      adapters: Object.entries(manifest.adapters).map(([name, { tasks }]) => ({ name, tasks })),
    },
  }));
  return { object: "list", data };
}

function unixSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
