/** The public library: build a model folder, load it, and ask it about images, audio and video. */

export type { AdapterSettings, ClsInjectionSettings, VisualTokenSettings } from "./adapter/adapter.js";
export { type GivenSettings, readAdapter, writeAdapter } from "./adapter/adapter-file.js";
export { type InjectionPlan, injectionPlan } from "./adapter/injection-plan.js";
export type { AnswerPiece, AnswerStream } from "./core/answer-stream.js";
export type { Device, DeviceChoice } from "./core/device.js";
export { EpalmError, type ErrorCode } from "./core/errors.js";
export type { Modality } from "./core/modality.js";
export type { Precision } from "./core/precision.js";
export type { EncoderOutput, MediumInput } from "./encoding/media-encoder.js";
export type { MediumSource } from "./encoding/read-medium.js";
export { openCheckpoint } from "./formats/open-checkpoint.js";
export type { GenerationOptions } from "./generation/options.js";
export type { Priority, RequestOrigin } from "./generation/request-origin.js";
export type { GeneratedText, RankedText, TopToken } from "./generation/text-generator.js";
export { type HubOptions, resolveFolder } from "./hub/resolve-folder.js";
export type { AdapterChanges } from "./model/adapter-registry.js";
export { buildModel, buildVlm } from "./model/build-model.js";
export type {
  AdapterOptions,
  BuildOptions,
  EncoderOptions,
  SourceReference,
  VlmBuildOptions,
  VlmOptions,
} from "./model/build-options.js";
export { BUNDLED_MODEL } from "./model/bundled-model.js";
export type { ChatMessage, ChatPart } from "./model/conversation.js";
export { adapterModality, type EncoderOf, encoderOf, encodersOf, modalitiesOf } from "./model/encoders.js";
export { installAdapter } from "./model/install-adapter.js";
export {
  MANIFEST_FILE,
  type Manifest,
  manifestJsonSchema,
  readManifest,
  type TaskName,
} from "./model/manifest.js";
export { loadAdapter, openModelFolder } from "./model/model-folder.js";
export type { ModelDevices, ModelPlacement } from "./model/place-model.js";
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
  type Trust,
  type TrustOptions,
} from "./pipeline.js";
export type { Placement } from "./runtime/device.js";
export type { ThreadHealth } from "./runtime/thread.js";
export { type Breakdown, breakdown, type NamedIntervals } from "./training/adapter/breakdown.js";
export { readTrainingConfig, type TrainingConfig, trainingConfigSchema } from "./training/adapter/config.js";
export {
  type Evaluation,
  type EvaluationOptions,
  evaluateModel,
  namedScores,
} from "./training/adapter/evaluate-model.js";
export {
  readEvaluationData,
  type TrainHooks,
  type TrainingPlan,
  type TrainingResult,
  trainModel,
} from "./training/adapter/train-model.js";
export {
  type CalibrateOptions,
  calibrateModel,
} from "./training/calibration/calibrate-model.js";
export type { ConfidenceReport } from "./training/calibration/fit-confidence.js";
export type { CalibrationReport, NearDuplicate } from "./training/calibration/measure-calibration.js";
export type { MeanInterval } from "./training/metrics/mean-interval.js";
