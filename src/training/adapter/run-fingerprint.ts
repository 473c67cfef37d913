import { dirname } from "node:path";
import { encoderOf } from "../../model/encoders.js";
import { fileSha256, type ModelFolder } from "../../model/model-folder.js";
import type { Example } from "../data/example.js";
import type { TrainingData } from "../data/training-data.js";
import { type Fingerprint, hashOf } from "../run-state.js";
import { adapterSettingsOf, type TrainingConfig } from "./config.js";

/**
 * Everything that affects the weights of the resulting adapter.
 *
 * @param contents SHA-256 of each medium, by path; media that are not in it do not affect the weights
 */
export async function fingerprintOfRun(
  config: TrainingConfig,
  { manifest }: ModelFolder,
  { modality, training, validation }: TrainingData,
  contents: ReadonlyMap<string, string>,
): Promise<Fingerprint> {
  const {
    output,
    cache,
    model,
    checkpointEvery,
    install,
    replace,
    skipBad,
    validationExamples,
    baseline,
    calibrate,
    device,
    data,
    ...settings
  } = config;
  const { initial } = config.adapter;
  const { origin: _encoderOrigin, patches, ...encoder } = encoderOf(manifest, modality);
  const { origin: _decoderOrigin, visualTokens: _visualTokens, ...decoder } = manifest.decoder;
  const folders = [dirname(encoder.graph), dirname(decoder.graph), decoder.tokenizer];
  const files = Object.entries(manifest.files)
    .filter(([file]) => folders.includes(dirname(file)) && file !== patches?.graph)
    .map(([file, { sha256 }]) => [file, sha256])
    .sort();
  const rows = training.map(({ example, texts }) => [
    contents.get(example.media.path),
    texts.map(({ tokens }) => tokens),
  ]);
  // The validation set determines which epoch is kept.
  const scored = config.keep === "best" ? validation.map((example) => scoredPart(example, contents)) : [];
  return {
    config: {
      ...settings,
      adapter: {
        ...adapterSettingsOf(config, decoder.shape.layers),
        // The data determine it if the config does not.
        modality,
        initial: initial === undefined ? undefined : await fileSha256(initial),
      },
    },
    model: hashOf([encoder, decoder, manifest.tasks, files]),
    data: hashOf([rows, scored]),
  };
}

function scoredPart(
  { where: _where, group: _group, media, ...example }: Example,
  contents: ReadonlyMap<string, string>,
): unknown {
  return { ...example, media: contents.get(media.path) };
}
