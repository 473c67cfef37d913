import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { CaptionRequest, ListAnswer, TextAnswer, TextEvent } from "../../wire.js";
import { type AnswerContext, captionAnswer, vqaAnswer } from "../answer.js";
import { inFlightOf } from "../queue/in-flight.js";
import { checkCost } from "../requests/check-cost.js";
import { checkGeneration, checkVqa } from "../requests/check-request.js";
import type { GivenMedium } from "../requests/medium.js";
import { readRequest } from "../requests/read-request.js";
import { answerInTurn, type Service } from "../service.js";
import { sendEvents } from "./event-stream.js";

type AnyAnswer = TextAnswer | ListAnswer;

/** `POST /caption` and `POST /vqa`. */
export function askRoutes(app: FastifyInstance, service: Service): void {
  const options = { onRequest: service.inFlight.enter };
  app.post("/caption", options, async (request, reply) => {
    const { fields, medium } = await readRequest("caption", request, service);
    checkGeneration(fields, service.config.limits);
    checkCost("caption", fields, service.models.get(fields.model).model.manifest, service.config.limits);
    return respond(service, request, reply, fields, medium, (context) => captionAnswer(context, fields));
  });
  app.post("/vqa", options, async (request, reply) => {
    const { fields, medium } = await readRequest("vqa", request, service);
    checkVqa(fields, service.config.limits);
    checkCost("vqa", fields, service.models.get(fields.model).model.manifest, service.config.limits);
    return respond(service, request, reply, fields, medium, (context) => vqaAnswer(context, fields));
  });
}

function respond(
  service: Service,
  request: FastifyRequest,
  reply: FastifyReply,
  { model, adapter, stream }: Pick<CaptionRequest, "model" | "adapter" | "stream">,
  medium: GivenMedium,
  answer: (context: AnswerContext) => Promise<AnyAnswer>,
): Promise<AnyAnswer | FastifyReply> {
  const asked = { model, adapter, medium, inFlight: inFlightOf(request) };
  if (!(stream ?? acceptsEvents(request))) {
    return answerInTurn(service, { ...asked, onText: undefined }, answer);
  }
  return sendEvents(reply, async (send) => {
    const onText = (index: number, text: string) => send("text", { index, text } satisfies TextEvent);
    send("answer", await answerInTurn(service, { ...asked, onText }, answer));
  });
}

function acceptsEvents({ headers }: FastifyRequest): boolean {
  return /(^|[\s,])text\/event-stream\b/i.test(headers.accept ?? "");
}
