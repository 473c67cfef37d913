/** FedMAE as a library: federated pre-training, cascade, fine-tuning, import. */

export { cascade, requireMae } from "./fedmae/cascade.js";
export { type ClientCost, measureClients } from "./fedmae/client-cost.js";
export { type FedMaeConfig, fedMaeConfigSchema, readFedMaeConfig } from "./fedmae/config.js";
export { type Accuracies, type FinetuneOptions, finetune, untrained } from "./fedmae/finetune.js";
export { type LabelledPicture, readLabelledPictures } from "./fedmae/labelled-pictures.js";
export { linearProbe, type ProbeOptions } from "./fedmae/linear-probe.js";
export { type EncoderFolder, readEncoderFolder, writeEncoderFolder } from "./fedmae/mae-folder.js";
export { type PretrainHooks, type PretrainResult, pretrain } from "./fedmae/pretrain.js";
export { type Reconstruction, reconstruct } from "./fedmae/reconstruct.js";
export { resizeEncoder } from "./fedmae/resize-encoder.js";
