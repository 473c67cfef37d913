import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyReply } from "fastify";
import { adapterModality, type Model } from "../../index.js";
import { capabilitiesOf } from "../../model/capabilities.js";
import type { ModelList, TextAnswer, Usage, VqaRequest, WireText } from "../../wire.js";
import { type AnswerContext, captionAnswer, vqaAnswer } from "../answer.js";
import { inFlightOf } from "../queue/in-flight.js";
import type { ChatChunk, ChatCompletion, ChatLogprobs, ChatUsage } from "../requests/chat-schema.js";
import { checkGeneration, checkVqa } from "../requests/check-request.js";
import type { ChatQuestion } from "../requests/read-chat.js";
import { answerInTurn, type Service } from "../service.js";
import { sendEvents } from "./event-stream.js";

/** `POST /v1/chat/completions` and `GET /v1/models`, compatible with clients of the OpenAI API. */
export function chatRoutes(app: FastifyInstance, service: Service): void {
  const started = unixSeconds();
  app.get("/v1/models", () => modelList(service.models.loaded, started));
  app.post("/v1/chat/completions", { onRequest: service.inFlight.enter }, async (request, reply) => {
    const chat = await service.bodies.read("chat", request.body, service.config.limits.mediaBytes);
    const { model, adapter, stream } = chat.fields;
    checkGeneration(chat.fields, service.config.limits);
    if (chat.question !== undefined) checkVqa({ ...chat.fields, question: chat.question }, service.config.limits);
    const ask = (onText: AnswerContext["onText"]) =>
      answerInTurn(service, { model, adapter, medium: chat.medium, inFlight: inFlightOf(request), onText }, (context) =>
        answerChat(context, chat),
      );
    if (stream) return streamChat(reply, chat, service.models.get(model).name, ask);
    return completion(await ask(undefined));
  });
}

async function answerChat(context: AnswerContext, { question, fields }: ChatQuestion): Promise<TextAnswer> {
  if (question === undefined) return captionAnswer(context, fields);
  const request: VqaRequest = { ...fields, question };
  const answer = await vqaAnswer(context, request);
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
      finish_reason: chatFinish(text),
    })),
    usage: chatUsage(answer.usage),
  };
}

function streamChat(
  reply: FastifyReply,
  { fields: { n = 1 }, includeUsage }: ChatQuestion,
  model: string,
  ask: (onText: AnswerContext["onText"]) => Promise<TextAnswer>,
): Promise<FastifyReply> {
  const common = { ...head(model), object: "chat.completion.chunk" as const };
  const chunk = (choice: Partial<ChatChunk["choices"][number]>): ChatChunk => ({
    ...common,
    choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: null, ...choice }],
    ...(includeUsage ? { usage: null } : {}),
  });
  return sendEvents(reply, async (send) => {
    let isOpen = false;
    const sendText = (index: number, content: string) => {
      const role = isOpen && index === 0 ? {} : { role: "assistant" as const };
      isOpen = true;
      send(undefined, chunk({ index, delta: { ...role, content } }));
    };
    // With several texts, their order is known only at the end.
    const answer = await ask(n === 1 ? (_, piece) => sendText(0, piece) : undefined);
    for (const [index, text] of answer.texts.entries()) {
      if (index > 0 || !isOpen) sendText(index, text.text);
      send(undefined, chunk({ index, finish_reason: chatFinish(text), logprobs: logprobsOf(text) }));
    }
    if (includeUsage) send(undefined, { ...common, choices: [], usage: chatUsage(answer.usage) } satisfies ChatChunk);
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

/** OpenAI uses the same value for an end token and for a stop string. */
function chatFinish({ finish_reason }: WireText): "stop" | "length" {
  return finish_reason === "length" ? "length" : "stop";
}

function chatUsage({ prompt_tokens, completion_tokens }: Usage): ChatUsage {
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

function modelList(models: ReadonlyMap<string, Model>, created: number): ModelList {
  const data = Array.from(models, ([id, { manifest, modalities }]) => ({
    id,
    object: "model" as const,
    created,
    owned_by: "epalm",
    epalm: {
      modalities: [...modalities],
      adapters: Object.entries(manifest.adapters).map(([name, adapter]) => ({
        name,
        tasks: adapter.tasks,
        modality: adapterModality(manifest, adapter),
      })),
      capabilities: capabilitiesOf(manifest).map(({ task, modality, description, exampleQuestions }) => ({
        task,
        modality,
        description,
        example_questions: [...exampleQuestions],
      })),
    },
  }));
  return { object: "list", data };
}

function unixSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
