import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ListAnswer, TextAnswer, TextEvent } from "../../wire.js";
import { inFlightOf } from "../queue/in-flight.js";
import type { AskRequest } from "../requests/ask-request.js";
import { checkAsk } from "../requests/check-request.js";
import { readRequest } from "../requests/read-request.js";
import { answerInTurn, type Service } from "../service.js";
import { sendEvents } from "./event-stream.js";

type AnyAnswer = TextAnswer | ListAnswer;

/** `POST /caption` and `POST /vqa`. */
export function askRoutes(app: FastifyInstance, service: Service): void {
  const options = { onRequest: service.inFlight.enter };
  app.post("/caption", options, async (request, reply) => {
    return respond(service, request, reply, await readRequest("caption", request, service));
  });
  app.post("/vqa", options, async (request, reply) => {
    return respond(service, request, reply, await readRequest("vqa", request, service));
  });
}

function respond(
  service: Service,
  request: FastifyRequest,
  reply: FastifyReply,
  ask: AskRequest,
): Promise<AnyAnswer | FastifyReply> {
  checkAsk(ask, service.models.get(ask.fields.model).model, service.config.limits);
  const asked = { ask, inFlight: inFlightOf(request) };
  if (!(ask.fields.stream ?? acceptsEvents(request))) return answerInTurn(service, { ...asked, onText: undefined });
  return sendEvents(reply, async (send) => {
    const onText = (index: number, text: string) => send("text", { index, text } satisfies TextEvent);
    send("answer", await answerInTurn(service, { ...asked, onText }));
  });
}

function acceptsEvents({ headers }: FastifyRequest): boolean {
  return /(^|[\s,])text\/event-stream\b/i.test(headers.accept ?? "");
}
