import { z } from "zod";
import {
  captionRequest,
  listAnswer,
  mediaFields,
  modelList,
  problem,
  sampleList,
  servedModel,
  textAnswer,
  textEvent,
  vqaRequest,
} from "../../wire.js";
import {
  ollamaChatAnswer,
  ollamaChatRequest,
  ollamaError,
  ollamaGenerateAnswer,
  ollamaGenerateRequest,
  ollamaNameRequest,
  ollamaRunning,
  ollamaShow,
  ollamaTags,
  ollamaVersion,
} from "../dialects/ollama-schema.js";
import { chatChunk, chatCompletion, chatRequest } from "../dialects/openai-schema.js";
import { QUESTION_LIST } from "../requests/form-fields.js";

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
  Model: servedModel,
  OllamaGenerateRequest: ollamaGenerateRequest,
  OllamaGenerateAnswer: ollamaGenerateAnswer,
  OllamaChatRequest: ollamaChatRequest,
  OllamaChatAnswer: ollamaChatAnswer,
  OllamaNameRequest: ollamaNameRequest,
  OllamaShow: ollamaShow,
  OllamaTags: ollamaTags,
  OllamaRunning: ollamaRunning,
  OllamaVersion: ollamaVersion,
  OllamaError: ollamaError,
  SampleList: sampleList,
} as const;

type Json = { readonly [key: string]: unknown };

/** The OpenAPI 3.1 document of the service, generated from the schemas that validate its requests. */
export function openApiDocument(version: string, needsKey: boolean): Json {
  return {
    openapi: "3.1.0",
    info: {
      title: "epalm",
      version,
      description:
        "Captions of images, audio and videos, and answers to questions about them. Every error is problem+json (RFC 9457).",
    },
    paths: {
      "/caption": { post: asking("Generate a caption of a medium", "CaptionRequest", ["TextAnswer"]) },
      "/vqa": { post: asking("Answer questions about a medium", "VqaRequest", ["TextAnswer", "ListAnswer"]) },
      "/v1/chat/completions": { post: chat() },
      "/v1/models": { get: reading("List the models and their adapters", json(ref("ModelList"))) },
      "/v1/models/{id}": {
        get: { ...reading("Get a model or an adapter", json(ref("Model"))), parameters: [modelId] },
      },
      "/api/generate": {
        post: ollama("Answer a prompt in the format of Ollama", "OllamaGenerateRequest", "OllamaGenerateAnswer", true),
      },
      "/api/chat": {
        post: ollama("Answer a chat in the format of Ollama", "OllamaChatRequest", "OllamaChatAnswer", true),
      },
      "/api/show": { post: ollama("Describe a model as Ollama does", "OllamaNameRequest", "OllamaShow", false) },
      "/api/tags": { get: ollamaReading("List the models as Ollama does", "OllamaTags") },
      "/api/ps": { get: ollamaReading("List the loaded models as Ollama does", "OllamaRunning") },
      "/api/version": { get: ollamaReading("Get the version as Ollama does", "OllamaVersion") },
      "/samples": { get: reading("List the sample media of the models", json(ref("SampleList"))) },
      "/healthz": { get: reading("Check whether the process is alive", json({ type: "object" }), false) },
      "/readyz": { get: reading("Check whether the service accepts requests", json({ type: "object" }), false) },
      "/metrics": {
        get: reading("Get metrics for Prometheus", { "text/plain": { schema: { type: "string" } } }),
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
  const events = "events `text` (TextEvent) while the text is generated, then `answer` or `problem` (Problem)";
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

/** Like the JSON schema, but media are files, and a list of questions has its own field. */
function formSchema(request: "CaptionRequest" | "VqaRequest"): Json {
  const { properties, required, ...rest } = jsonSchema(schemas[request]);
  const file = { type: "string", format: "binary" };
  const all = { ...Object(properties), ...Object.fromEntries(mediaFields.map((field) => [field, file])) };
  if (request === "CaptionRequest") return { ...rest, properties: all };
  const list = {
    type: "array",
    items: { type: "string" },
    description: "a list of questions, even if it appears once",
  };
  return {
    ...rest,
    properties: { ...all, [QUESTION_LIST]: list },
    oneOf: [{ required: ["question"] }, { required: [QUESTION_LIST] }],
  };
}

function chat(): Json {
  const events = "one ChatChunk per event, then `[DONE]`";
  return {
    summary: "Answer in the format of OpenAI's chat completions",
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

const modelId = {
  name: "id",
  in: "path",
  required: true,
  description: "`MODEL` or `MODEL/ADAPTER`; the slash may be escaped",
  schema: { type: "string" },
};

const ollamaFailure = { default: { description: "An error", content: json(ref("OllamaError")) } };

function ollama(
  summary: string,
  request: keyof typeof schemas,
  answer: keyof typeof schemas,
  canStream: boolean,
): Json {
  const lines = { "application/x-ndjson": { schema: { type: "string", description: "one part per line" } } };
  return {
    summary,
    requestBody: { required: true, content: json(ref(request)) },
    responses: {
      200: { description: "The answer", content: { ...json(ref(answer)), ...(canStream ? lines : {}) } },
      ...ollamaFailure,
    },
  };
}

function ollamaReading(summary: string, answer: keyof typeof schemas): Json {
  return { summary, responses: { 200: { description: "OK", content: json(ref(answer)) }, ...ollamaFailure } };
}
