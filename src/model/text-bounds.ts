import { join } from "node:path";
import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { DecoderManifest } from "./manifest.js";
import { readJson, type Source } from "./source-folder.js";

const tokenIds = z.union([
  z
    .int()
    .min(0)
    .transform((id) => [id]),
  z.array(z.int().min(0)).min(1),
]);
const textConfig = z.object({ bos_token_id: tokenIds.nullish(), eos_token_id: tokenIds.nullish() });

/** The start and end tokens. Values of the generation config take precedence over those of the model's config. */
export function textBounds(
  { folder, config }: Source,
  known: readonly number[],
): Pick<DecoderManifest, "startToken" | "endTokens"> {
  // A key that is null leaves the value of the file with less precedence. Composite models nest the decoder's config.
  const sources = [config?.text_config, config, readJson(join(folder, "generation_config.json"))];
  const stated = sources.flatMap((source) => Object.entries(source ?? {}).filter(([, value]) => value !== null));
  const result = textConfig.safeParse(Object.fromEntries(stated));
  const endTokens = [...new Set([...known, ...(result.data?.eos_token_id ?? [])])];
  if (endTokens.length === 0) {
    throw new EpalmError("invalid_checkpoint", `${folder}: 'eos_token_id': expected a token id or a list of token ids`);
  }
  const [startToken = 0] = result.data?.bos_token_id ?? endTokens;
  return { startToken, endTokens };
}
