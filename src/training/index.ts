/** API for training programs: training loop, encoder training, data, initial weights and run states. */

export { Whitening } from "./adapter/whitening.js";
export { EncoderStates } from "./data/encoder-states.js";
export { InputRows } from "./data/input-rows.js";
export {
  batchesInOrder,
  type EncoderInput,
  type LabelledBatch,
  type LabelledInputs,
  randomBatches,
} from "./data/labelled-batches.js";
export type { Labelled, LabelledImage } from "./data/labelled-images.js";
export { filled, normal, normalNumber } from "./distributions.js";
export {
  attributeTargets,
  type Classes,
  classesOf,
  headName,
  labelFeeds,
  trainingClasses,
} from "./encoder/attributes.js";
export type { EncoderConfig, ExtraHead } from "./encoder/classifier-graph.js";
export { initialEncoder } from "./encoder/initial-encoder.js";
export { REGIONS } from "./encoder/region-targets.js";
export {
  type Accuracies,
  type EncoderTrainingHooks,
  type EncoderTrainingOptions,
  trainEncoder,
  trainedHeads,
} from "./encoder/train-encoder.js";
export { type FitOptions, type FitReport, fit } from "./fit.js";
export { type Initializer, InitialWeights } from "./initial-weights.js";
export { rowsOf, stacked } from "./rows.js";
export { type Fingerprint, hashOf, type RunState, readRunState, readTrainedWeights } from "./run-state.js";
export { learningRateShare } from "./schedule.js";
export { TrainedParameters } from "./trained-parameters.js";
export { WeightTraining } from "./weight-training.js";
