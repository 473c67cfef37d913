import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Adapter } from "../adapter/adapter.js";
import { readAdapter } from "../adapter/adapter-file.js";
import { adapterGraph } from "../adapter/adapter-graph.js";
import type { Calibration } from "../adapter/calibration.js";
import { type InjectionPlan, injectionPlan, type VisualTokenPlan, visualTokenPlan } from "../adapter/injection-plan.js";
import { patchDepths, visualTokenCount } from "../adapter/visual-connector.js";
import { EpalmError, unexpected } from "../core/errors.js";
import { isReallyInside } from "../core/files/path-inside.js";
import { once } from "../core/memoized.js";
import type { Modality } from "../core/modality.js";
import type { Graph } from "../graph/ir.js";
import { encodeOnnx } from "../graph/onnx-writer.js";
import { type LazySession, openNowOrLater } from "../runtime/lazy-session.js";
import type { SessionThread } from "../runtime/session-thread.js";
import { elementCount, type Tensor } from "../tensor/tensor.js";
import { adapterModality, modalitiesOf } from "./encoders.js";
import { type AdapterManifest, type Manifest, readManifest, type TaskName } from "./manifest.js";
import { adapterWidths, backbonesOf, checkFits, fileSha256, loadAdapter, type ModelFolder } from "./model-folder.js";

/** An adapter that is ready for use: its file was checked, and its connector is a session. */
export interface ReadyAdapter {
  readonly name: string;
  /** The modality whose encoder states it takes. */
  readonly modality: Modality;
  readonly connector: ReadyConnector;
  readonly session: LazySession;
  /** Undefined if the adapter has no soft tokens. Computed once. */
  readonly softPrompt: () => Promise<Tensor | undefined>;
  readonly calibration: Calibration | undefined;
}

/** What a connector computes, and what happens to it in the decoder. */
export type ReadyConnector =
  | { readonly kind: "slot"; readonly plan: InjectionPlan }
  /** `depths`: number of the encoder's last blocks whose patch states it takes; `count`: tokens per medium. */
  | { readonly kind: "visual tokens"; readonly plan: VisualTokenPlan; readonly depths: number; readonly count: number };

/** Selects an adapter by its name or, without a name, the first one for the task and the modality. */
export interface AdapterSelection {
  readonly task: TaskName;
  readonly modality: Modality;
  readonly name: string | undefined;
}

/** The result of reloading the adapters of a folder. */
export interface AdapterChanges {
  /** New adapters, and adapters whose file or entry changed. */
  readonly loaded: readonly string[];
  readonly removed: readonly string[];
  /** Adapters that cannot be used, with the reason. Previous adapters of the same names stay in use. */
  readonly refused: readonly { readonly name: string; readonly error: EpalmError }[];
}

interface RegistryOptions {
  /** Whether adapters are opened by their first use. Default: false. */
  readonly lazy?: boolean | undefined;
}

/** An adapter of the registry, or one that was unloaded while requests were still using it. */
interface LoadedAdapter {
  readonly adapter: ReadyAdapter;
  users: number;
  isUnloaded: boolean;
}

/**
 * The adapters of one model. All are read in advance, so that a damaged one is found before a request needs it, and
 * can be replaced while the model runs. A replaced adapter is closed after the last request has released it.
 */
export class AdapterRegistry {
  readonly #thread: SessionThread;
  readonly #loaded = new Map<string, LoadedAdapter>();
  readonly #options: RegistryOptions;
  #folder: ModelFolder;
  /** Changes are applied one at a time. */
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(folder: ModelFolder, thread: SessionThread, options: RegistryOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#thread = thread;
  }

  /** Reads all adapters of the manifest; opens them unless they are to be `lazy`. @throws invalid_adapter, not_found */
  static async open(
    folder: ModelFolder,
    thread: SessionThread,
    options: RegistryOptions = {},
  ): Promise<AdapterRegistry> {
    const registry = new AdapterRegistry(folder, thread, options);
    for (const name of Object.keys(folder.manifest.adapters)) {
      registry.#put(await registry.#load(folder, name));
    }
    return registry;
  }

  get manifest(): Manifest {
    return this.#folder.manifest;
  }

  /**
   * Runs `work` with the named adapter or, without a name, with the first one that was trained for the task and the
   * modality. The adapter stays open until the work is done.
   *
   * @throws not_found; invalid_option if the named adapter takes another modality; errors of `work`
   */
  async acquire<T>(
    { task, modality, name }: AdapterSelection,
    work: (adapter: ReadyAdapter) => Promise<T>,
  ): Promise<T> {
    const loaded = this.#choose(task, modality, name);
    loaded.users++;
    try {
      return await work(loaded.adapter);
    } finally {
      loaded.users--;
      closeIfUnused(loaded);
    }
  }

  /** The modality whose states an adapter takes. @throws not_found; invalid_option if it differs from `wanted` */
  modalityOf(name: string, wanted?: Modality): Modality {
    return this.#named(name, wanted).adapter.modality;
  }

  /** The largest number of last blocks whose patch states an adapter of a modality takes; 0 if none takes any. */
  patchDepths(modality: Modality): number {
    const depths = Array.from(this.#loaded.values(), ({ adapter }) =>
      adapter.modality === modality && adapter.connector.kind === "visual tokens" ? adapter.connector.depths : 0,
    );
    return Math.max(0, ...depths);
  }

  /** See `Model.visualTokens`. */
  visualTokens(name: string | undefined, modality: Modality | undefined): number {
    const counts = Array.from(this.#loaded.values(), ({ adapter }) => {
      const isPossible =
        name === undefined ? modality === undefined || adapter.modality === modality : name === adapter.name;
      return isPossible && adapter.connector.kind === "visual tokens" ? adapter.connector.count : 0;
    });
    return Math.max(0, ...counts);
  }

  /** See `Model.useAdapter`. */
  use(name: string, adapter: Adapter, modality: Modality): Promise<void> {
    return this.#change(async () => {
      checkFits(adapter, backbonesOf(this.manifest, modality), `adapter '${name}'`);
      this.#put(await this.#ready(name, adapter, modality));
    });
  }

  /** See `Model.refreshAdapters`. */
  refresh(): Promise<AdapterChanges> {
    return this.#change(() => this.#refresh());
  }

  #choose(task: TaskName, modality: Modality, name: string | undefined): LoadedAdapter {
    return this.#named(name ?? this.#first(task, modality), modality);
  }

  #named(name: string, modality: Modality | undefined): LoadedAdapter {
    const loaded = this.#loaded.get(name);
    if (!loaded) {
      const known = Array.from(this.#loaded.keys()).join(", ") || "none";
      throw new EpalmError("not_found", `adapter '${name}': expected one of ${known}`);
    }
    const own = loaded.adapter.modality;
    if (modality === undefined || own === modality) return loaded;
    throw unexpected("invalid_option", `adapter '${name}'`, `one for ${modality}`, `one for ${own}`);
  }

  #first(task: TaskName, modality: Modality): string {
    const { manifest } = this;
    const fits = (adapter: AdapterManifest) =>
      adapter.tasks.includes(task) && adapterModality(manifest, adapter) === modality;
    const [first] = Object.entries(manifest.adapters).find(([, adapter]) => fits(adapter)) ?? [];
    if (first !== undefined) return first;
    throw new EpalmError("not_found", `the model has no ${modality} adapter for the task '${task}'`);
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#changing.then(change);
    this.#changing = changed.catch(() => undefined);
    return changed;
  }

  async #refresh(): Promise<AdapterChanges> {
    const { path, manifest: old } = this.#folder;
    const { manifest, refused } = await withDroppedFiles(path, readManifest(path));
    if (!isDeepStrictEqual(frozenParts(manifest), frozenParts(old))) {
      throw new EpalmError(
        "invalid_model",
        `${path}: contains a different model from the one that is running; restart to load it`,
      );
    }
    const folder = { path, manifest };
    // If an unlisted file is damaged, its previous version stays in use; if it is missing, the adapter is removed.
    const damaged = new Set(refused.map(({ name }) => name));
    const removed = Object.keys(old.adapters).filter(
      (name) => !Object.hasOwn(manifest.adapters, name) && !damaged.has(name),
    );
    const opened: ReadyAdapter[] = [];
    for (const name of Object.keys(manifest.adapters)) {
      try {
        // A file can be damaged even if its entry in the manifest has not changed.
        await checkFile(folder, name);
        if (!isSame(name, manifest, old)) opened.push(await this.#load(folder, name));
      } catch (error) {
        // If the thread ended meanwhile, the adapter is not to blame.
        if (!(error instanceof EpalmError) || error.code === "unavailable") throw error;
        refused.push({ name, error });
      }
    }
    this.#folder = { path, manifest: keeping(old, manifest, refused) };
    for (const name of removed) this.#unload(name);
    for (const adapter of opened) this.#put(adapter);
    return { loaded: opened.map(({ name }) => name), removed, refused };
  }

  /** Adds an adapter and replaces one of the same name. */
  #put(adapter: ReadyAdapter): void {
    this.#unload(adapter.name);
    this.#loaded.set(adapter.name, { adapter, users: 0, isUnloaded: false });
  }

  #unload(name: string): void {
    const loaded = this.#loaded.get(name);
    if (!loaded) return;
    this.#loaded.delete(name);
    loaded.isUnloaded = true;
    closeIfUnused(loaded);
  }

  async #load(folder: ModelFolder, name: string): Promise<ReadyAdapter> {
    const adapter = await loadAdapter(folder, name);
    const { manifest } = folder;
    const entry = manifest.adapters[name];
    const modality = entry ? adapterModality(manifest, entry) : manifest.encoder.modality;
    return this.#ready(name, adapter, modality, manifest);
  }

  async #ready(name: string, adapter: Adapter, modality: Modality, manifest = this.manifest): Promise<ReadyAdapter> {
    const backbones = backbonesOf(manifest, modality);
    const { encoder, decoder } = backbones;
    const { settings, calibration } = adapter;
    const connector: ReadyConnector = settings.connector
      ? {
          kind: "visual tokens",
          plan: visualTokenPlan(settings, decoder.shape.layers),
          depths: patchDepths(settings.connector),
          count: encoder.patches ? visualTokenCount(settings.connector, encoder.patches) : 0,
        }
      : { kind: "slot", plan: injectionPlan(settings, decoder.shape.layers) };
    const graph = adapterGraph(adapter, adapterWidths(backbones), encoder.depth);
    const session = await openNowOrLater(() => this.#thread.open(encodeOnnx(graph)), this.#options);
    const softPrompt = once(async () => (settings.promptLength === 0 ? undefined : computeSoftPrompt(session, graph)));
    if (!this.#options.lazy) await softPrompt();
    return { name, modality, connector, session, softPrompt, calibration };
  }
}

/** A soft prompt does not depend on the medium, but is an output of the graph that takes its states. */
async function computeSoftPrompt(session: LazySession, { inputs }: Graph): Promise<Tensor> {
  const feeds = inputs.map(({ name, shape: [, ...sizes] }): [string, Tensor] => {
    const shape = [1, ...sizes.map(Number)];
    return [name, { type: "float32", shape, data: new Float32Array(elementCount(shape)) }];
  });
  const { soft_prompt: softPrompt } = await session.run(Object.fromEntries(feeds), ["soft_prompt"]);
  if (!softPrompt) throw new EpalmError("internal", "no soft prompt was computed");
  return softPrompt;
}

function closeIfUnused({ adapter, users, isUnloaded }: LoadedAdapter): void {
  // If the thread has ended in the meantime, the session has already been freed.
  if (isUnloaded && users === 0) adapter.session.close().catch(() => undefined);
}

type Refused = { readonly name: string; readonly error: EpalmError }[];

/** Names of adapter files in `adapters/`. Files that are still being written have another extension. */
const ADAPTER_FILE = /^([A-Za-z0-9][\w.-]*)\.(safetensors|pth)$/;

/**
 * Adds the adapter files in `adapters/` that the manifest does not list: after all other adapters, for both tasks, and
 * with the modality of the first encoder that they fit.
 */
async function withDroppedFiles(
  path: string,
  manifest: Manifest,
): Promise<{ readonly manifest: Manifest; readonly refused: Refused }> {
  const refused: Refused = [];
  const adapters: Record<string, AdapterManifest> = { ...manifest.adapters };
  const files = { ...manifest.files };
  const folder = join(path, "adapters");
  const entries = existsSync(folder) ? readdirSync(folder).sort() : [];
  for (const entry of entries) {
    const file = `adapters/${entry}`;
    const [, name] = ADAPTER_FILE.exec(entry) ?? [];
    if (name === undefined || Object.hasOwn(adapters, name) || Object.hasOwn(files, file)) continue;
    if (!statSync(join(path, file), { throwIfNoEntry: false })?.isFile()) continue;
    try {
      expectInside(path, file);
      const adapter = await readAdapter(join(path, file));
      const parameters = Array.from(adapter.tensors.values(), ({ shape }) => elementCount(shape));
      const sum = parameters.reduce((total, count) => total + count, 0);
      files[file] = { bytes: statSync(join(path, file)).size, sha256: await fileSha256(join(path, file)) };
      const modality = fittingModality(manifest, adapter);
      adapters[name] = {
        file,
        tasks: ["caption", "vqa"],
        ...(modality === manifest.encoder.modality ? {} : { modality }),
        parameters: sum,
      };
    } catch (error) {
      if (!(error instanceof EpalmError)) throw error;
      refused.push({ name, error });
    }
  }
  return { manifest: { ...manifest, adapters, files }, refused };
}

/** The modality of the first encoder that the adapter fits, or of the model's first encoder if it fits none. */
function fittingModality(manifest: Manifest, adapter: Adapter): Modality {
  const fits = (modality: Modality) => {
    try {
      checkFits(adapter, backbonesOf(manifest, modality), "adapter");
      return true;
    } catch {
      return false;
    }
  };
  return modalitiesOf(manifest).find(fits) ?? manifest.encoder.modality;
}

/** The parts that a running model cannot replace: all except adapters and graphs of patch states, with their files. */
function frozenParts({ adapters, files, encoder, otherEncoders, ...others }: Manifest): object {
  const own = new Set(Object.values(adapters).map(({ file }) => file));
  const encoders = [encoder, ...(otherEncoders ?? [])].map(({ patches, ...fixed }) => {
    if (patches) own.add(patches.graph);
    return fixed;
  });
  const rest = { ...others, encoders };
  const frozen = Object.entries(files).filter(([name]) => !own.has(name) && !name.startsWith("adapters/"));
  return { ...rest, files: Object.fromEntries(frozen) };
}

function isSame(name: string, manifest: Manifest, old: Manifest): boolean {
  const [now, before] = [entryOf(manifest, name), entryOf(old, name)];
  return isDeepStrictEqual(now, before);
}

function entryOf({ adapters, files }: Manifest, name: string): readonly unknown[] {
  const entry = Object.hasOwn(adapters, name) ? adapters[name] : undefined;
  return entry ? [entry, files[entry.file]] : [];
}

/** The new manifest with the old entries of adapters that were refused. */
function keeping(old: Manifest, manifest: Manifest, refused: readonly { readonly name: string }[]): Manifest {
  const adapters: Record<string, AdapterManifest> = { ...manifest.adapters };
  for (const { name } of refused) {
    delete adapters[name];
    const before = old.adapters[name];
    if (before) adapters[name] = before;
  }
  return { ...manifest, adapters };
}

/** Links may have been added after the folder was opened. @throws invalid_adapter */
function expectInside(folder: string, file: string): void {
  const path = join(folder, file);
  if (!existsSync(path) || isReallyInside(folder, path)) return;
  throw new EpalmError("invalid_adapter", `${path}: is a link to a file outside the model folder`);
}

async function checkFile({ path, manifest }: ModelFolder, name: string): Promise<void> {
  const file = manifest.adapters[name]?.file ?? "";
  const expected = manifest.files[file];
  expectInside(path, file);
  const bytes = statSync(join(path, file), { throwIfNoEntry: false })?.size;
  if (expected && bytes === expected.bytes && (await fileSha256(join(path, file))) === expected.sha256) return;
  throw new EpalmError(
    "invalid_adapter",
    `${join(path, file)}: is missing, damaged or different from its entry in the manifest`,
  );
}
