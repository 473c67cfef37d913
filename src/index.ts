/** What a library user imports: build a model folder, load it, ask it about pictures. */

export type { AdapterSettings } from "./adapter/adapter.js";
export { type GivenSettings, readAdapter, writeAdapter } from "./adapter/adapter-file.js";
export { type InjectionPlan, injectionPlan } from "./adapter/injection-plan.js";
export type { AnswerPiece, AnswerStream } from "./answer-stream.js";
export { type HubOptions, resolveFolder } from "./checkpoints/hub.js";
export { openCheckpoint } from "./checkpoints/open-checkpoint.js";
export { EpalmError, type ErrorCode } from "./errors.js";
export { type Evaluation, type EvaluationOptions, evaluateModel, namedScores } from "./evaluate-model.js";
export type { GenerationOptions } from "./generation/generation-options.js";
export type { GeneratedText, RankedText } from "./generation/text-generator.js";
export type { Modality } from "./modality.js";
export {
  type AdapterOptions,
  type BuildOptions,
  buildModel,
  type EncoderOptions,
  type SourceReference,
} from "./model/build-model.js";
export { BUNDLED_MODEL } from "./model/bundled-model.js";
export { adapterModality, type EncoderOf, encoderOf, encodersOf, modalitiesOf } from "./model/encoders.js";
export { installAdapter } from "./model/install-adapter.js";
export {
  MANIFEST_FILE,
  type Manifest,
  manifestJsonSchema,
  type Precision,
  readManifest,
  type TaskName,
} from "./model/manifest.js";
export { loadAdapter, openModelFolder } from "./model/model-folder.js";
export type { AdapterChanges } from "./perception/adapter-shelf.js";
export type { EncoderOutput, MediumInput } from "./perception/perceiver.js";
export type { MediumSource } from "./perception/read-medium.js";
export {
  type Answer,
  type Answers,
  type AskOptions,
  type EncodedMedium,
  type EncodeOptions,
  type LoadOptions,
  load,
  type Model,
  type ModelCounts,
  type Ranking,
  type RankOptions,
  type StreamOptions,
} from "./pipeline.js";
export {
  readEvaluationData,
  type TrainHooks,
  type TrainingPlan,
  type TrainingResult,
  trainModel,
} from "./train-model.js";
export { readTrainingConfig, type TrainingConfig, trainingConfigSchema } from "./training/config.js";
