import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { EpalmError } from "../../core/errors.js";
import { answerPrompt, named, resolvePrompt } from "../dialects/resolve-prompt.js";
import {
  generated,
  ollamaEnd,
  ollamaLoaded,
  ollamaPart,
  ollamaShow,
  ollamaTags,
  ollamaText,
  type Placing,
  said,
} from "../dialects/write-ollama.js";
import { inFlightOf } from "../queue/in-flight.js";
import { takeJsonAsBytes } from "../requests/read-body.js";
import type { Service } from "../service.js";
import { sendLines } from "./event-stream.js";

/** Calls of the Ollama API that change models or compute something else, with the reason why they are rejected. */
const unsupported = {
  pull: "models are folders that the operator configures",
  push: "models are folders that the operator configures",
  create: "models are built with 'epalm build'",
  copy: "models are folders that the operator configures",
  delete: "models are folders that the operator configures",
  embed: "the models write text and have no embeddings to offer",
  embeddings: "the models write text and have no embeddings to offer",
} as const;

/** Types that programs send with JSON; curl's default is that of forms. */
const otherTypes = ["application/x-www-form-urlencoded", "text/plain", "application/octet-stream"];

const FOREVER = "9999-12-31T23:59:59.000Z";

/** `/api/…`, compatible with clients of Ollama. */
export function ollamaRoutes(app: FastifyInstance, service: Service, version: string): void {
  const { config, bodies, models, inFlight } = service;
  const started = new Date();
  const options = { onRequest: inFlight.enter };
  takeJsonAsBytes(app, config.limits.bodyBytes, otherTypes);
  app.get("/api/version", () => ({ version }));
  app.get("/api/tags", () => ({ models: ollamaTags(models, started) }));
  app.get("/api/ps", () => {
    // Models stay loaded until the service ends.
    const rest = { expires_at: FOREVER, size_vram: 0 };
    return { models: ollamaTags(models, started).map((tag) => ({ ...tag, ...rest })) };
  });
  app.post("/api/show", options, async (request) => {
    const { model: wanted } = await bodies.read("ollamaName", request.body, config.limits.mediaBytes);
    const { model, adapter } = named(service, { model: wanted });
    return ollamaShow(model, adapter, started);
  });
  app.post("/api/generate", options, (request, reply) => answer(service, request, reply, "ollamaGenerate", generated));
  app.post("/api/chat", options, (request, reply) => answer(service, request, reply, "ollamaChat", said));
  for (const [name, reason] of Object.entries(unsupported)) {
    app.route({
      method: name === "delete" ? "DELETE" : "POST",
      url: `/api/${name}`,
      handler: () => {
        throw new EpalmError("not_found", `epalm does not support /api/${name}: ${reason}`);
      },
    });
  }
}

async function answer(
  service: Service,
  request: FastifyRequest,
  reply: FastifyReply,
  kind: "ollamaGenerate" | "ollamaChat",
  place: Placing,
): Promise<object> {
  const { mediaBytes } = service.config.limits;
  const { asked, stream, format, ...wanted } = await service.bodies.read(kind, request.body, mediaBytes);
  if (!asked) {
    const loaded = ollamaLoaded(named(service, wanted).name, place);
    return stream ? sendLines(reply, async (send) => send(loaded)) : loaded;
  }
  const resolved = resolvePrompt(service, asked);
  const turn = { inFlight: inFlightOf(request) };
  if (!stream) {
    const answered = await answerPrompt(service, resolved, { ...turn, onText: undefined });
    return ollamaEnd(answered, place, ollamaText(answered, format));
  }
  return sendLines(reply, async (send) => {
    const part = (text: string) => send(ollamaPart(resolved.model, place, text));
    const isPlain = format === undefined || format === "";
    const onText = isPlain ? (_: number, piece: string) => part(piece) : undefined;
    const answered = await answerPrompt(service, resolved, { ...turn, onText });
    if (!isPlain) part(ollamaText(answered, format));
    send(ollamaEnd(answered, place, ""));
  });
}
