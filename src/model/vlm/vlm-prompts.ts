import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { EpalmError } from "../../core/errors.js";
import type { TemplatePart } from "../../tokenizer/tokenizer.js";
import { createTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.js";
import type { TokenizerFiles } from "../../tokenizer/tokenizer-files.js";
import { type ChatMessage, type ConversationSettings, renderConversation } from "../conversation.js";
import type { Manifest, TaskManifest } from "../manifest.js";
import { readJson } from "../source-folder.js";
import type { VlmPrompts } from "./vlm-parts.js";

/** What the prompts of a model's manifest are made of. */
export interface WrittenPrompts extends Pick<Manifest, "tasks" | "conversation"> {
  /** Tokens any of which ends an answer: the one of the chat template, and the tokenizer's. */
  readonly endTokens: readonly number[];
}

/** Editable in the manifest. */
const CAPTION_REQUEST = "Describe this image in one short sentence.";

/** A model that chats writes more than one sentence. */
const captionGeneration = { maxNewTokens: 64 };
const vqaGeneration = { maxNewTokens: 128 };

const templateKey = z.object({
  chat_template: z.union([
    z.string(),
    z
      .array(z.object({ name: z.string(), template: z.string() }))
      .transform((templates) => templates.find(({ name }) => name === "default")?.template),
  ]),
});

/** The chat template in the files of a public folder in which transformers looks for it; undefined if there is none. */
export function readChatTemplate(folder: string): string | undefined {
  const own = join(folder, "chat_template.jinja");
  if (existsSync(own)) return readFileSync(own, "utf8");
  for (const file of ["chat_template.json", "processor_config.json", "tokenizer_config.json"]) {
    const { data } = templateKey.safeParse(readJson(join(folder, file)));
    if (data?.chat_template !== undefined) return data.chat_template;
  }
  return undefined;
}

/**
 * The prompts of a vision-language model for captions, questions and conversations: as its chat template writes them,
 * if it has one.
 *
 * @throws unsupported_architecture if the tokenizer lacks the tokens around an image
 */
export function writePrompts(
  prompts: VlmPrompts,
  template: string | undefined,
  files: TokenizerFiles,
  where: string,
): WrittenPrompts {
  const tokenizer = createTokenizer(files, where);
  const { eos_token } = files.tokenizerConfig;
  const eos = eos_token ? tokenizer.idOf(eos_token) : undefined;
  const own = eos === undefined ? [] : [eos];
  const asked = (request: string): ChatMessage => ({ role: "user", content: [{ medium: true }, { text: request }] });
  const conversation = conversationOf(template, prompts, files.tokenizerConfig, tokenizer, asked("{text}"));
  if (!conversation) {
    return { tasks: tasksWith((request) => prompts.plain.replace("{text}", () => request), ""), endTokens: own };
  }
  expectTokens(prompts.image, tokenizer, where);
  const written = (request: string) => textOf(renderConversation(conversation, [asked(request)]).parts);
  const { answerPrefix, end } = aroundAnswer(conversation, [asked("{text}")], files);
  return {
    tasks: tasksWith(written, answerPrefix),
    conversation,
    endTokens: [...new Set([...(end === undefined ? [] : [end]), ...own])],
  };
}

/**
 * The settings with which a template writes an image and a request: with contents as lists, as those of vision-language
 * models do, or as strings. Undefined if there is no template, or if it writes neither.
 */
function conversationOf(
  template: string | undefined,
  prompts: VlmPrompts,
  { bos_token, eos_token }: TokenizerFiles["tokenizerConfig"],
  tokenizer: Tokenizer,
  asked: ChatMessage,
): ConversationSettings | undefined {
  if (template === undefined || prompts.imageToken === "") return undefined;
  const settings: ConversationSettings = {
    template,
    imageToken: prompts.imageToken,
    image: prompts.image,
    ...(bos_token ? { startText: bos_token } : {}),
    ...(eos_token ? { endText: eos_token } : {}),
    ...(bos_token && tokenizer.encode("")[0] === tokenizer.idOf(bos_token) ? { addsStart: true } : {}),
  };
  return [settings, { ...settings, content: "text" as const }].find((candidate) => {
    try {
      const { parts } = renderConversation(candidate, [asked]);
      return parts.some((part) => "medium" in part) && parts.some((part) => "user" in part);
    } catch {
      return false;
    }
  });
}

function tasksWith(written: (request: string) => string, answerPrefix: string): Manifest["tasks"] {
  const task = (request: string, generation: TaskManifest["generation"]) => {
    return { prompt: written(request), answerPrefix, generation };
  };
  return { caption: task(CAPTION_REQUEST, captionGeneration), vqa: task("{text}", vqaGeneration) };
}

/** The text between a prompt and the answer, and the special token after the answer, if the template writes one. */
function aroundAnswer(conversation: ConversationSettings, asked: readonly ChatMessage[], files: TokenizerFiles) {
  const answer = "{answer}";
  const [prompt, whole] = [
    textOf(renderConversation(conversation, asked).parts),
    textOf(
      renderConversation(conversation, [...asked, { role: "assistant", content: [{ text: answer }] }], {
        answered: true,
      }).parts,
    ),
  ];
  const [before = "", after = ""] = whole.split(answer);
  const next = after.trimStart();
  const token = files.tokenizerJson.added_tokens.find(({ content, special }) => special && next.startsWith(content));
  return { answerPrefix: before.startsWith(prompt) ? before.slice(prompt.length) : "", end: token?.id };
}

function textOf(parts: readonly TemplatePart[]): string {
  return parts
    .map((part) => {
      if ("medium" in part) return "{medium}";
      return "user" in part ? part.user : part.literal;
    })
    .join("");
}

/** @throws unsupported_architecture if a token around an image is missing, which would then be read as text */
function expectTokens(image: string, tokenizer: Tokenizer, where: string): void {
  for (const token of image.replace("{medium}", "").match(/<[^<>]+>/g) ?? []) {
    if (tokenizer.idOf(token) !== undefined) continue;
    throw new EpalmError("unsupported_architecture", `${where}: the tokenizer has no token '${token}'`);
  }
}
