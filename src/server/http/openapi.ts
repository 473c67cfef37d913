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
import { embeddingList, embeddingsRequest } from "../dialects/embeddings.js";
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
import { responseEvent, responseObject, responsesRequest } from "../dialects/responses-schema.js";
import { QUESTION_LIST } from "../requests/form-fields.js";
import { rawTypes } from "../requests/raw-medium.js";

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
  EmbeddingsRequest: embeddingsRequest,
  EmbeddingList: embeddingList,
  ResponsesRequest: responsesRequest,
  Response: responseObject,
  ResponseEvent: responseEvent,
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
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/", description: "This service" }],
    paths: {
      "/caption": { post: asking("caption", "Generate a caption of a medium", "CaptionRequest", ["TextAnswer"]) },
      "/vqa": { post: asking("vqa", "Answer questions about a medium", "VqaRequest", ["TextAnswer", "ListAnswer"]) },
      "/v1/chat/completions": { post: chat() },
      "/v1/embeddings": { post: embeddings() },
      "/v1/responses": { post: responses() },
      "/v1/models": { get: reading("listModels", "List the models and their adapters", json(ref("ModelList"))) },
      "/v1/models/{id}": {
        get: { ...reading("getModel", "Get a model or an adapter", json(ref("Model"))), parameters: [modelId] },
      },
      "/api/generate": {
        post: ollama("ollamaGenerate", "Answer a prompt", "OllamaGenerateRequest", "OllamaGenerateAnswer", true),
      },
      "/api/chat": { post: ollama("ollamaChat", "Answer a chat", "OllamaChatRequest", "OllamaChatAnswer", true) },
      "/api/show": { post: ollama("ollamaShow", "Describe a model", "OllamaNameRequest", "OllamaShow", false) },
      "/api/tags": { get: ollamaReading("ollamaTags", "List the models", "OllamaTags") },
      "/api/ps": { get: ollamaReading("ollamaPs", "List the loaded models", "OllamaRunning") },
      "/api/version": { get: ollamaReading("ollamaVersion", "Get the version", "OllamaVersion") },
      "/samples": { get: reading("listSamples", "List the sample media of the models", json(ref("SampleList"))) },
      "/healthz": {
        get: reading("checkLiveness", "Check whether the process is alive", json({ type: "object" }), false),
      },
      "/readyz": {
        get: reading("checkReadiness", "Check whether the service accepts requests", json({ type: "object" }), false),
      },
      "/metrics": {
        get: reading("getMetrics", "Get metrics for Prometheus", { "text/plain": { schema: { type: "string" } } }),
      },
    },
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, jsonSchema(schema)])),
      ...(needsKey ? { securitySchemes: { key: { type: "http", scheme: "bearer" } } } : {}),
    },
    security: needsKey ? [{ key: [] }] : [],
  };
}

export function jsonSchema(schema: z.ZodType): Json {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}

/** A red square of 32 x 32 pixels, so that examples can be sent as they are. */
const EXAMPLE_IMAGE =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAMAAABEpIrGAAAAA1BMVEXIHh4WiPieAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAAE0lEQVQ4jWNgGAWjYBSMAgasAAAEIAABMVaGxQAAAABJRU5ErkJggg==";

const exampleFields = { image: EXAMPLE_IMAGE };
const exampleVqa = { ...exampleFields, question: "What color is the background?" };

/** Bodies that "Try it out" of `GET /docs` offers; every one of them gets an answer. */
const examples = {
  CaptionRequest: exampleFields,
  VqaRequest: exampleVqa,
  ChatRequest: {
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: exampleVqa.question },
          { type: "image_url", image_url: { url: EXAMPLE_IMAGE } },
        ],
      },
    ],
  },
  EmbeddingsRequest: { input: [EXAMPLE_IMAGE] },
  ResponsesRequest: {
    input: [
      {
        role: "user",
        content: [
          { type: "input_text", text: exampleVqa.question },
          { type: "input_image", image_url: EXAMPLE_IMAGE },
        ],
      },
    ],
  },
} as const;

function ref(name: keyof typeof schemas): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function json(schema: Json): Json {
  return { "application/json": { schema } };
}

/** @param data schemas of the events' data */
const eventStream = (description: string, ...data: (keyof typeof schemas)[]) => ({
  "text/event-stream": {
    schema: {
      type: "string",
      description,
      contentMediaType: "text/event-stream",
      contentSchema: { anyOf: data.map(ref) },
    },
  },
});

const problemBody = { content: { "application/problem+json": { schema: ref("Problem") } } };
const failure = {
  "4XX": { description: "The request was rejected", ...problemBody },
  "5XX": { description: "The service is busy, stopping or at fault", ...problemBody },
};

function asking(
  operationId: string,
  summary: string,
  request: "CaptionRequest" | "VqaRequest",
  answers: readonly (keyof typeof schemas)[],
): Json {
  const events = "events `text` (TextEvent) while the text is generated, then `answer` or `problem` (Problem)";
  const [first, ...more] = answers.map(ref);
  return {
    operationId,
    summary,
    parameters: queryParameters(request),
    requestBody: {
      required: true,
      content: {
        "application/json": { schema: ref(request), example: examples[request] },
        "multipart/form-data": { schema: formSchema(request) },
        ...Object.fromEntries(rawTypes.map((type) => [type, { schema: { type: "string", format: "binary" } }])),
      },
    },
    responses: {
      200: {
        description: "The answer",
        content: {
          ...json(more.length > 0 ? { oneOf: [first, ...more] } : { ...first }),
          ...eventStream(events, "TextEvent", ...answers, "Problem"),
        },
      },
      ...failure,
    },
  };
}

/** A body that is a medium has the other fields in its query. Other bodies ignore the query. */
function queryParameters(request: "CaptionRequest" | "VqaRequest"): Json[] {
  const { properties } = jsonSchema(schemas[request]);
  const fields = Object.entries(Object(properties) as Record<string, Json>);
  return fields
    .filter(([name]) => !mediaFields.some((field) => field === name))
    .map(([name, { description, ...schema }]) => ({
      name,
      in: "query",
      description: [description, "only if the body is a medium (image/*, audio/* or video/*)"]
        .filter(Boolean)
        .join("; "),
      schema,
    }));
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
    operationId: "chat",
    summary: "Answer in the format of OpenAI's chat completions",
    requestBody: {
      required: true,
      content: { "application/json": { schema: ref("ChatRequest"), example: examples.ChatRequest } },
    },
    responses: {
      200: {
        description: "The answer",
        content: { ...json(ref("ChatCompletion")), ...eventStream(events, "ChatChunk", "Problem") },
      },
      ...failure,
    },
  };
}

function embeddings(): Json {
  const content = { "application/json": { schema: ref("EmbeddingsRequest"), example: examples.EmbeddingsRequest } };
  return {
    operationId: "embed",
    summary: "Get the encoder states of media as vectors of length 1, in the format of OpenAI's embeddings",
    requestBody: { required: true, content },
    responses: { 200: { description: "The vectors", content: json(ref("EmbeddingList")) }, ...failure },
  };
}

function responses(): Json {
  return {
    operationId: "respond",
    summary: "Answer in the format of OpenAI's responses; nothing is stored",
    requestBody: {
      required: true,
      content: { "application/json": { schema: ref("ResponsesRequest"), example: examples.ResponsesRequest } },
    },
    responses: {
      200: {
        description: "The answer",
        content: {
          ...json(ref("Response")),
          ...eventStream("one ResponseEvent per event", "ResponseEvent", "Problem"),
        },
      },
      ...failure,
    },
  };
}

function reading(operationId: string, summary: string, content: Json, needsKey = true): Json {
  const responses = { 200: { description: "OK", content }, ...failure };
  return { operationId, summary, responses, ...(needsKey ? {} : { security: [] }) };
}

const modelId = {
  name: "id",
  in: "path",
  required: true,
  description: "`MODEL` or `MODEL/ADAPTER`; the slash may be escaped",
  schema: { type: "string" },
};

const ollamaFailure = {
  "4XX": { description: failure["4XX"].description, content: json(ref("OllamaError")) },
  "5XX": { description: failure["5XX"].description, content: json(ref("OllamaError")) },
};

function ollama(
  operationId: string,
  summary: string,
  request: keyof typeof schemas,
  answer: keyof typeof schemas,
  canStream: boolean,
): Json {
  const lines = { "application/x-ndjson": { schema: { type: "string", description: "one part per line" } } };
  return {
    ...ollamaOperation(operationId, summary),
    requestBody: { required: true, content: json(ref(request)) },
    responses: {
      200: { description: "The answer", content: { ...json(ref(answer)), ...(canStream ? lines : {}) } },
      ...ollamaFailure,
    },
  };
}

function ollamaOperation(operationId: string, summary: string): Json {
  return { operationId, summary: `${summary} in the format of Ollama` };
}

function ollamaReading(operationId: string, summary: string, answer: keyof typeof schemas): Json {
  return {
    ...ollamaOperation(operationId, summary),
    responses: { 200: { description: "OK", content: json(ref(answer)) }, ...ollamaFailure },
  };
}
