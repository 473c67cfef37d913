/** What a library user imports: build a model folder, load it, ask it about pictures. */

export type { AdapterSettings } from "./adapter/adapter.js";
export { readAdapter, writeAdapter } from "./adapter/adapter-file.js";
export { EpalmError, type ErrorCode } from "./errors.js";
export type { GenerationOptions } from "./generation/generation-options.js";
export type { GeneratedText, RankedText } from "./generation/text-generator.js";
export { type AdapterOptions, type BuildOptions, buildModel } from "./model/build-model.js";
export { type Manifest, manifestJsonSchema, readManifest } from "./model/manifest.js";
export { openModelFolder } from "./model/model-folder.js";
export {
  type Answer,
  type AskOptions,
  type ImageInput,
  type LoadOptions,
  load,
  type Model,
  type Ranking,
  type RankOptions,
} from "./pipeline.js";
