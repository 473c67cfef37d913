import { EpalmError, unexpected } from "../../core/errors.js";
import { invalidCheckpoint } from "../../formats/invalid-checkpoint.js";
import { wrapperPrefix } from "../../formats/prefix.js";
import type { TokenizerFiles } from "../../tokenizer/tokenizer-files.js";
import type { Source } from "../source-folder.js";
import { splitIdefics3 } from "./idefics3.js";
import { splitLlava } from "./llava.js";
import { isNanoVlm, splitNanoVlm } from "./nanovlm.js";
import { partOf, type VlmParts } from "./vlm-parts.js";

/** A public form of vision-language models. */
interface VlmForm {
  /** Names of all its tensors. */
  readonly tensors: RegExp;
  /** @param imageToken the token that stands for an image in prompts */
  split(source: Source, imageToken: string): VlmParts;
}

const llava: VlmForm = {
  tensors: /^(model\.)?(vision_tower|multi_modal_projector|language_model)\.|^(model\.)?image_newline$|^lm_head\./,
  split: splitLlava,
};
const idefics3: VlmForm = {
  tensors: /^(model\.)?(vision_model|connector|text_model)\.|^lm_head\./,
  split: splitIdefics3,
};
const nanoVlm: VlmForm = { tensors: /^(vision_encoder|decoder|MP)\./, split: splitNanoVlm };

const HEAD = "lm_head.weight";
const EMBEDDINGS = /(^|\.)embed_tokens\.weight$/;

const forms: Readonly<Record<string, VlmForm>> = { llava, llava_next: llava, idefics3, smolvlm: idefics3 };

/**
 * Takes a public vision-language model apart into an encoder, a connector and a decoder.
 *
 * @throws unsupported_architecture, naming the field of `config.json`; invalid_checkpoint; not_found without a config
 */
export function splitVlm(source: Source, tokenizer: TokenizerFiles): VlmParts {
  const form = formOf(source);
  const prefix = wrapperPrefix(source.checkpoint.tensors.keys());
  const checkpoint = partOf(source.checkpoint, (name) => name.slice(prefix.length));
  const unknown = Array.from(checkpoint.tensors.keys()).find((name) => !form.tensors.test(name));
  if (unknown !== undefined) throw invalidCheckpoint(checkpoint.path, `unexpected tensor ${unknown}`);
  const parts = form.split({ ...source, checkpoint }, imageTokenOf(source, tokenizer));
  return { ...parts, decoder: withSharedHead(parts.decoder) };
}

/**
 * A file contains the table of embeddings and that of the output head, or only one of them, under either name. A
 * decoder with only one uses it for both, whatever its config says.
 */
function withSharedHead(decoder: Source): Source {
  const names = Array.from(decoder.checkpoint.tensors.keys());
  const hasEmbeddings = names.some((name) => EMBEDDINGS.test(name));
  if (hasEmbeddings && names.includes(HEAD)) return decoder;
  return {
    ...decoder,
    config: { ...decoder.config, tie_word_embeddings: true },
    checkpoint: hasEmbeddings
      ? decoder.checkpoint
      : partOf(decoder.checkpoint, (name) => (name === HEAD ? "embed_tokens.weight" : name)),
  };
}

function formOf({ config, folder }: Source): VlmForm {
  if (!config) throw new EpalmError("not_found", `${folder}: expected a folder with the model's config.json`);
  if (isNanoVlm(config)) return nanoVlm;
  const type = String(config.model_type);
  const form = Object.hasOwn(forms, type) ? forms[type] : undefined;
  if (form) return form;
  throw new EpalmError(
    "unsupported_architecture",
    `${folder}/config.json: 'model_type': expected a vision-language model (${Object.keys(forms).join(", ")}, or the ` +
      `config of nanoVLM), got '${type}'`,
  );
}

/** The text that stands for an image in a model's prompts; empty for nanoVLM, whose prompts have none. */
function imageTokenOf({ config, folder }: Source, { tokenizerJson }: TokenizerFiles): string {
  if (isNanoVlm(config)) return "";
  const id = config?.image_token_id ?? config?.image_token_index;
  const found = tokenizerJson.added_tokens.find((token) => token.id === id);
  if (found) return found.content;
  throw unexpected(
    "invalid_checkpoint",
    `${folder}: 'image_token_id'`,
    "the id of an added token of the tokenizer",
    String(id),
  );
}
