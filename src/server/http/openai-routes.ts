import type { FastifyInstance, FastifyReply } from "fastify";
import { EpalmError, excerpt } from "../../core/errors.js";
import type { ModelList } from "../../wire.js";
import { embeddingAnswer } from "../dialects/embeddings.js";
import { answerPrompt, type ResolvedPrompt, resolvePrompt } from "../dialects/resolve-prompt.js";
import { ChunkWriter, completion, modelList, unixSeconds } from "../dialects/write-openai.js";
import { ResponseWriter } from "../dialects/write-responses.js";
import { embedInTurn } from "../embed.js";
import { type InFlightRequest, inFlightOf } from "../queue/in-flight.js";
import type { Service } from "../service.js";
import { sendEvents } from "./event-stream.js";
import { FieldError } from "./problem.js";

/** Parts of the OpenAI API that the models cannot provide. */
const unsupported = [
  ...["assistants", "audio/speech", "audio/transcriptions", "audio/translations", "batches", "completions"],
  ...["files", "fine_tuning/jobs", "images/edits", "images/generations", "moderations"],
];

/** Chat completions, responses, embeddings and the list of models, compatible with clients of the OpenAI API. */
export function openAiRoutes(app: FastifyInstance, service: Service): void {
  const started = unixSeconds();
  app.get("/v1/models", () => modelList(service.models, started));
  // Names of adapters contain a slash.
  app.get<{ Params: { "*": string } }>("/v1/models/*", ({ params }) => modelNamed(service, started, params["*"]));
  app.post("/v1/chat/completions", { onRequest: service.inFlight.enter }, async (request, reply) => {
    const { asked, includeUsage } = await service.bodies.read("openai", request.body, service.config.limits.mediaBytes);
    const resolved = resolvePrompt(service, asked);
    const inFlight = inFlightOf(request);
    if (asked.fields.stream) return streamChat(service, reply, resolved, includeUsage, inFlight);
    return completion(await answerPrompt(service, resolved, { inFlight, onText: undefined }));
  });
  app.post("/v1/responses", { onRequest: service.inFlight.enter }, async (request, reply) => {
    const { mediaBytes } = service.config.limits;
    const { asked, instructions } = await service.bodies.read("responses", request.body, mediaBytes);
    const resolved = resolvePrompt(service, asked);
    const inFlight = inFlightOf(request);
    if (!asked.fields.stream) {
      const answered = await answerPrompt(service, resolved, { inFlight, onText: undefined });
      return new ResponseWriter(resolved, instructions).end(answered);
    }
    return sendEvents(reply, async (send) => {
      const writer = new ResponseWriter(resolved, instructions, (event) => send(event.type, event));
      const onText = (_: number, piece: string) => writer.text(piece);
      writer.end(await answerPrompt(service, resolved, { inFlight, onText }));
    });
  });
  app.post("/v1/embeddings", { onRequest: service.inFlight.enter }, async (request) => {
    const asked = await service.bodies.read("embeddings", request.body, service.config.limits.mediaBytes);
    const { name, vectors } = await embedInTurn(service, asked, inFlightOf(request));
    return embeddingAnswer(name, vectors, asked.isBase64);
  });
  for (const name of unsupported) {
    app.post(`/v1/${name}`, () => {
      throw new EpalmError("not_found", `epalm does not support /v1/${name}; use /v1/chat/completions`);
    });
  }
}

function streamChat(
  service: Service,
  reply: FastifyReply,
  resolved: ResolvedPrompt,
  includeUsage: boolean,
  inFlight: InFlightRequest,
): Promise<FastifyReply> {
  return sendEvents(reply, async (send) => {
    const chunks = new ChunkWriter(resolved.model, includeUsage, (chunk) => send(undefined, chunk));
    // With several texts, their order is known only at the end.
    const onText = (resolved.ask.fields.n ?? 1) === 1 ? (_: number, piece: string) => chunks.text(0, piece) : undefined;
    chunks.end(await answerPrompt(service, resolved, { inFlight, onText }));
    send(undefined, "[DONE]");
  });
}

function modelNamed({ models }: Service, started: number, id: string): ModelList["data"][number] {
  const { data } = modelList(models, started);
  const found = data.find((model) => model.id === id);
  if (found) return found;
  const known = data.map((model) => model.id).join(", ");
  throw new FieldError("not_found", "model", `expected one of ${known}, got '${excerpt(id)}'`);
}
