import { createHash } from "node:crypto";
import type { Manifest, Model } from "../../index.js";
import { adapterModality } from "../../model/encoders.js";
import type { Models } from "../models.js";
import { formatted } from "./json-format.js";
import type { OllamaDetails, OllamaFormat, OllamaShow, OllamaTag } from "./ollama-schema.js";
import type { PromptAnswer } from "./resolve-prompt.js";
import { chatFinish, logprobsOf } from "./write-openai.js";

/** Places a text in a part of an answer: `response` of `/api/generate` or `message` of `/api/chat`. */
export type Placing = (text: string) => object;

export const generated: Placing = (response) => ({ response });
export const said: Placing = (content) => ({ message: { role: "assistant", content } });

/** Part of a streamed answer. */
export function ollamaPart(model: string, place: Placing, text: string): object {
  return { model, created_at: new Date().toISOString(), ...place(text), done: false };
}

/** A complete answer, or the last part of a stream, whose text has been sent. */
export function ollamaEnd({ answer, report }: PromptAnswer, place: Placing, text: string): object {
  const { model, timings, usage, texts } = answer;
  const nanoseconds = (milliseconds: number) => Math.round(milliseconds * 1e6);
  const logprobs = texts[0] && logprobsOf(texts[0]);
  const before = timings.media + timings.encoder + timings.adapter;
  return {
    model,
    created_at: new Date().toISOString(),
    ...place(text),
    done: true,
    done_reason: texts[0] ? chatFinish(texts[0]) : "stop",
    total_duration: nanoseconds(timings.queue + before + timings.decoder),
    load_duration: 0,
    prompt_eval_count: usage.prompt_tokens,
    prompt_eval_duration: nanoseconds(before),
    eval_count: usage.completion_tokens,
    eval_duration: nanoseconds(timings.decoder),
    ...(logprobs ? { logprobs: logprobs.content } : {}),
    epalm: report,
  };
}

/** The text of an answer in the requested format. */
export function ollamaText({ answer, report }: PromptAnswer, format: OllamaFormat): string {
  return formatted(answer.text, format, report.task);
}

/** The answer to a request that only asks to load a model. */
export function ollamaLoaded(model: string, place: Placing): object {
  return { ...ollamaPart(model, place, ""), done: true, done_reason: "load" };
}

/** All names that requests may use, like the models that Ollama has downloaded. */
export function ollamaTags(models: Models, started: Date): OllamaTag[] {
  return models.served.map(({ id, model: { manifest } }) => ({
    name: id,
    model: id,
    modified_at: started.toISOString(),
    size: Object.values(manifest.files).reduce((sum, { bytes }) => sum + bytes, 0),
    digest: createHash("sha256").update(JSON.stringify(manifest.files)).digest("hex"),
    details: detailsOf(manifest),
  }));
}

/** Describes a model, or one of its adapters. */
export function ollamaShow({ manifest, modalities }: Model, adapter: string | undefined, started: Date): OllamaShow {
  const { decoder, adapters, tasks } = manifest;
  const shown = Object.entries(adapters).filter(([name]) => adapter === undefined || name === adapter);
  const kinds = adapter === undefined ? modalities : shown.map(([, one]) => adapterModality(manifest, one));
  return {
    license: decoder.origin.license ?? "",
    modelfile: "",
    parameters: "",
    template: tasks.vqa.prompt,
    modified_at: started.toISOString(),
    details: detailsOf(manifest),
    model_info: {
      "general.architecture": decoder.architecture,
      "general.parameter_count": parametersOf(manifest),
      [`${decoder.architecture}.context_length`]: decoder.shape.positions,
      [`${decoder.architecture}.embedding_length`]: decoder.shape.width,
      "epalm.modalities": kinds,
      "epalm.adapters": shown.map(([name]) => name),
    },
    capabilities: ["completion", ...(kinds.includes("image") ? ["vision"] : [])],
  };
}

function parametersOf({ encoder, otherEncoders = [], decoder }: Manifest): number {
  return [encoder, ...otherEncoders, decoder].reduce((sum, { parameters }) => sum + parameters, 0);
}

function detailsOf(manifest: Manifest): OllamaDetails {
  const { architecture, precision } = manifest.decoder;
  return {
    parent_model: "",
    format: "onnx",
    family: architecture,
    families: [architecture],
    parameter_size: `${(parametersOf(manifest) / 1e6).toFixed(1)}M`,
    quantization_level: precision.toUpperCase(),
  };
}
