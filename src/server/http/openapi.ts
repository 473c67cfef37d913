import { z } from "zod";
import {
  captionRequest,
  listAnswer,
  mediaFields,
  modelList,
  problem,
  sampleList,
  textAnswer,
  textEvent,
  vqaRequest,
} from "../../wire.js";
import { chatChunk, chatCompletion, chatRequest } from "../requests/chat-schema.js";
import { QUESTION_LIST } from "../requests/read-multipart.js";

const schemas = {
  CaptionRequest: captionRequest,
  VqaRequest: vqaRequest,
  TextAnswer: textAnswer,
  ListAnswer: listAnswer,
  TextEvent: textEvent,
  Problem: problem,
  ChatRequest: chatRequest,
  ChatCompletion: chatCompletion,
  ChatChunk: chatChunk,
  ModelList: modelList,
  SampleList: sampleList,
} as const;

type Json = { readonly [key: string]: unknown };

/** The OpenAPI 3.1 document of the service, from the schemas that requests are checked with. */
export function openApiDocument(version: string, needsKey: boolean): Json {
  return {
    openapi: "3.1.0",
    info: {
      title: "epalm",
      version,
      description: "Captions of media, and answers to questions about them. Every error is problem+json (RFC 9457).",
    },
    paths: {
      "/caption": { post: asking("Say what is in a medium", "CaptionRequest", ["TextAnswer"]) },
      "/vqa": { post: asking("Answer questions about a medium", "VqaRequest", ["TextAnswer", "ListAnswer"]) },
      "/v1/chat/completions": { post: chat() },
      "/v1/models": { get: reading("The models, and their adapters", json(ref("ModelList"))) },
      "/samples": { get: reading("Media to try the models with", json(ref("SampleList"))) },
      "/healthz": { get: reading("Whether the process is alive", json({ type: "object" }), false) },
      "/readyz": { get: reading("Whether requests are taken", json({ type: "object" }), false) },
      "/metrics": {
        get: reading("Metrics for Prometheus", { "text/plain": { schema: { type: "string" } } }),
      },
    },
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, jsonSchema(schema)])),
      securitySchemes: { key: { type: "http", scheme: "bearer" } },
    },
    ...(needsKey ? { security: [{ key: [] }] } : {}),
  };
}

export function jsonSchema(schema: z.ZodType): Json {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}

function ref(name: keyof typeof schemas): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function json(schema: Json): Json {
  return { "application/json": { schema } };
}

const eventStream = (description: string) => ({
  "text/event-stream": { schema: { type: "string", description } },
});

const failure = {
  default: { description: "An error", content: { "application/problem+json": { schema: ref("Problem") } } },
};

function asking(
  summary: string,
  request: "CaptionRequest" | "VqaRequest",
  answers: readonly (keyof typeof schemas)[],
): Json {
  const events = "events `text` (TextEvent) as the text grows, then `answer`, or `problem` (Problem)";
  const [first, ...more] = answers.map(ref);
  return {
    summary,
    requestBody: {
      required: true,
      content: { ...json(ref(request)), "multipart/form-data": { schema: formSchema(request) } },
    },
    responses: {
      200: {
        description: "The answer",
        content: {
          ...json(more.length > 0 ? { oneOf: [first, ...more] } : { ...first }),
          ...eventStream(events),
        },
      },
      ...failure,
    },
  };
}

/** As the JSON, but media are files, and a list of questions has a name of its own. */
function formSchema(request: "CaptionRequest" | "VqaRequest"): Json {
  const { properties, required, ...rest } = jsonSchema(schemas[request]);
  const file = { type: "string", format: "binary" };
  const all = { ...Object(properties), ...Object.fromEntries(mediaFields.map((field) => [field, file])) };
  if (request === "CaptionRequest") return { ...rest, properties: all };
  const list = { type: "array", items: { type: "string" }, description: "a list, even of one question" };
  return {
    ...rest,
    properties: { ...all, [QUESTION_LIST]: list },
    oneOf: [{ required: ["question"] }, { required: [QUESTION_LIST] }],
  };
}

function chat(): Json {
  const events = "ChatChunk per event, then `[DONE]`";
  return {
    summary: "As OpenAI's chat completions: one message of the user, with one medium",
    requestBody: { required: true, content: json(ref("ChatRequest")) },
    responses: {
      200: { description: "The answer", content: { ...json(ref("ChatCompletion")), ...eventStream(events) } },
      ...failure,
    },
  };
}

function reading(summary: string, content: Json, needsKey = true): Json {
  const responses = { 200: { description: "OK", content }, ...failure };
  return { summary, responses, ...(needsKey ? {} : { security: [] }) };
}
