import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Adapter, checkAdapter } from "../adapter/adapter.js";
import { readAdapter } from "../adapter/adapter-file.js";
import type { AdapterWidths } from "../adapter/adapter-widths.js";
import { checkCalibration } from "../adapter/calibration.js";
import { injectionPlan, visualTokenPlan } from "../adapter/injection-plan.js";
import { patchDepths } from "../adapter/visual-connector.js";
import { EpalmError, unexpected } from "../core/errors.js";
import { isReallyInside } from "../core/files/path-inside.js";
import type { Modality } from "../core/modality.js";
import { adapterModality, encoderOf, encodersOf } from "./encoders.js";
import { type Manifest, readManifest } from "./manifest.js";

/** A model folder whose files were checked against its manifest. */
export interface ModelFolder {
  readonly path: string;
  readonly manifest: Manifest;
}

export interface OpenOptions {
  /** Whether every file is read once to verify its checksum; sizes are always compared. Default: true. */
  readonly checksums?: boolean | undefined;
}

/**
 * Opens a model folder and checks all its files before they are used.
 *
 * @throws not_found; invalid_model, naming the file that is missing, truncated or changed, or a link out of the folder
 *
 * @example
 * ```ts
 * import { openModelFolder } from "epalm";
 * const { manifest } = await openModelFolder("my-model", { checksums: false });
 * ```
 */
export async function openModelFolder(path: string, { checksums = true }: OpenOptions = {}): Promise<ModelFolder> {
  const manifest = readManifest(path);
  refuseLinksOut(path);
  for (const name of usedFiles(manifest)) {
    if (Object.hasOwn(manifest.files, name)) continue;
    throw new EpalmError("invalid_model", `${join(path, name)}: is used, but is not listed in the manifest's 'files'`);
  }
  for (const [name, expected] of Object.entries(manifest.files)) {
    const file = join(path, name);
    const stats = statSync(file, { throwIfNoEntry: false });
    if (!stats?.isFile()) throw new EpalmError("invalid_model", `${file}: is missing`);
    if (stats.size !== expected.bytes) {
      throw unexpected("invalid_model", file, `${expected.bytes} bytes`, stats.size);
    }
    if (checksums && (await fileSha256(file)) !== expected.sha256) {
      throw new EpalmError("invalid_model", `${file}: is damaged: its SHA-256 differs from the manifest's`);
    }
  }
  return { path, manifest };
}

/** A folder from others could otherwise make a service read, and serve as a sample, any file of its machine. */
function refuseLinksOut(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isSymbolicLink()) continue;
    const link = join(entry.parentPath, entry.name);
    if (existsSync(link) && !isReallyInside(folder, link)) {
      throw new EpalmError("invalid_model", `${link}: is a link to a file outside the model folder`);
    }
  }
}

function usedFiles(manifest: Manifest): string[] {
  const { decoder, adapters } = manifest;
  return [
    ...encodersOf(manifest).flatMap(({ graph, patches }) => (patches ? [graph, patches.graph] : [graph])),
    decoder.graph,
    `${decoder.tokenizer}/tokenizer.json`,
    ...Object.values(adapters).map(({ file }) => file),
  ];
}

export async function fileSha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

/** The encoder and the decoder that an adapter connects. */
type Backbones = Pick<Manifest, "encoder" | "decoder">;

/** The backbones of the adapters of a modality. @throws invalid_option if the model does not support the modality */
export function backbonesOf(manifest: Manifest, modality: Modality): Backbones {
  return { encoder: encoderOf(manifest, modality), decoder: manifest.decoder };
}

/** The widths that an adapter of these backbones must have. */
export function adapterWidths({ encoder, decoder }: Backbones): AdapterWidths {
  const { patches } = encoder;
  return {
    encoder: encoder.width,
    decoder: decoder.shape.width,
    embedding: decoder.shape.embeddingWidth,
    ...(patches ? { patches: { frames: patches.frames, rows: patches.rows, columns: patches.columns } } : {}),
  };
}

/** @throws invalid_adapter if the adapter's tensors, number of states or layers do not fit the backbones */
export function checkFits(adapter: Adapter, backbones: Backbones, where: string): void {
  const { encoder, decoder } = backbones;
  const { settings } = adapter;
  if (settings.connector) expectVisualTokens(backbones, where);
  checkAdapter(adapter, adapterWidths(backbones), where);
  if (adapter.calibration) checkCalibration(adapter.calibration, encoder, where);
  if (settings.connector) visualTokenPlan(settings, decoder.shape.layers);
  else injectionPlan(settings, decoder.shape.layers);
  const states = settings.connector ? patchDepths(settings.connector) : settings.injectedStates;
  if (states > encoder.depth) {
    const has =
      encoder.pooling === "attention" ? "pools to a single state (attention)" : `has only ${encoder.depth} blocks`;
    const takes = settings.connector ? `takes the patch states of ${states} blocks` : `injects ${states} states`;
    throw new EpalmError("invalid_adapter", `${where}: ${takes}, but the encoder ${has}`);
  }
}

/** @throws invalid_adapter if the folder's graphs cannot compute patch states or take visual tokens */
function expectVisualTokens({ encoder, decoder }: Backbones, where: string): void {
  if (!decoder.visualTokens) {
    throw new EpalmError(
      "invalid_adapter",
      `${where}: computes visual tokens, which the decoder graph of this model folder cannot take, because an earlier ` +
        "version built it; `epalm build --encoder FOLDER --decoder FOLDER --output NEW` builds it again from its weights",
    );
  }
  if (encoder.patches) return;
  throw new EpalmError(
    "invalid_adapter",
    `${where}: takes patch states, for which the model folder has no graph; it is added when an adapter is trained, ` +
      "installed with installAdapter, or built with --adapter",
  );
}

/**
 * Reads one adapter of a folder and checks that it fits.
 *
 * @throws not_found, listing the known names
 *
 * @example
 * ```ts
 * import { loadAdapter, openModelFolder } from "epalm";
 * const { settings } = await loadAdapter(await openModelFolder("my-model"), "main");
 * ```
 */
export async function loadAdapter({ path, manifest }: ModelFolder, name: string): Promise<Adapter> {
  const entry = Object.hasOwn(manifest.adapters, name) ? manifest.adapters[name] : undefined;
  if (!entry) {
    const known = Object.keys(manifest.adapters).join(", ") || "none";
    throw new EpalmError("not_found", `adapter '${name}': expected one of ${known}`);
  }
  const file = join(path, entry.file);
  const adapter = await readAdapter(file);
  checkFits(adapter, backbonesOf(manifest, adapterModality(manifest, entry)), file);
  return adapter;
}
