/** Library entry point for encoder training: federated pre-training (FedMAE), cascade, fine-tuning, import. */

export { cascade, requireMae } from "./fedmae/cascade.js";
export { type ClientCost, measureClients } from "./fedmae/client-cost.js";
export { type FedMaeConfig, fedMaeConfigSchema, readFedMaeConfig } from "./fedmae/config.js";
export type { PretrainResult, RoundRetry } from "./fedmae/federated-run.js";
export { type PretrainHooks, pretrain } from "./fedmae/pretrain.js";
export type { ClientReport, RoundReport } from "./fedmae/round-log.js";
export { applyRound, checkRound, planRound, trainRound } from "./fedmae/rounds.js";
export {
  batchesInOrder,
  type LabelledBatch,
  type LabelledInputs,
  randomBatches,
} from "./training/data/labelled-batches.js";
export { type LabelledImage, readLabelledImages } from "./training/data/labelled-images.js";
export {
  type EncoderFolder,
  readEncoderFolder,
  writeEncoderFolder,
} from "./training/encoder/encoder-folder.js";
export { type FinetuneOptions, finetune, untrained } from "./training/encoder/finetune.js";
export { initialEncoder } from "./training/encoder/initial-encoder.js";
export { linearProbe, type ProbeOptions } from "./training/encoder/linear-probe.js";
export { type Reconstruction, reconstruct } from "./training/encoder/reconstruct.js";
export { resizeEncoder } from "./training/encoder/resize-encoder.js";
export {
  type Accuracies,
  type EncoderTrainingHooks,
  type EncoderTrainingOptions,
  trainEncoder,
} from "./training/encoder/train-encoder.js";
