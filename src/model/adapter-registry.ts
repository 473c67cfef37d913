import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Adapter } from "../adapter/adapter.js";
import { readAdapter } from "../adapter/adapter-file.js";
import { adapterGraph } from "../adapter/adapter-graph.js";
import { type InjectionPlan, injectionPlan } from "../adapter/injection-plan.js";
import { EpalmError, unexpected } from "../core/errors.js";
import type { Modality } from "../core/modality.js";
import { encodeOnnx } from "../graph/onnx-writer.js";
import type { Session } from "../runtime/session.js";
import type { SessionThread } from "../runtime/session-thread.js";
import { elementCount, type Tensor } from "../tensor/tensor.js";
import { adapterModality, modalitiesOf } from "./encoders.js";
import { type AdapterManifest, type Manifest, readManifest, type TaskName } from "./manifest.js";
import { adapterWidths, backbonesOf, checkFits, fileSha256, loadAdapter, type ModelFolder } from "./model-folder.js";

/** An adapter that is ready: its projections as a session, its soft tokens computed. */
export interface ReadyAdapter {
  readonly name: string;
  /** Of the states that it takes. */
  readonly modality: Modality;
  readonly plan: InjectionPlan;
  readonly session: Session;
  readonly softPrompt: Tensor;
}

/** What an adapter is wanted for; by its name, or else the first that fits. */
export interface AdapterSelection {
  readonly task: TaskName;
  readonly modality: Modality;
  readonly name: string | undefined;
}

/** What reading a folder's adapters again has changed. */
export interface AdapterChanges {
  /** New ones, and those whose file is another one. */
  readonly loaded: readonly string[];
  readonly removed: readonly string[];
  /** Those that cannot be used, and why; what had their name before stays. */
  readonly refused: readonly { readonly name: string; readonly error: EpalmError }[];
}

/** An adapter on the registry, or one that was taken off it while somebody still used it. */
interface LoadedAdapter {
  readonly adapter: ReadyAdapter;
  users: number;
  isUnloaded: boolean;
}

/**
 * The adapters of one model: all open, so that a damaged one is found before a request wants it, and exchanged while the
 * model runs. What was exchanged is closed when nobody uses it any more.
 */
export class AdapterRegistry {
  readonly #thread: SessionThread;
  readonly #loaded = new Map<string, LoadedAdapter>();
  #folder: ModelFolder;
  /** Changes come one after the other. */
  #changing: Promise<unknown> = Promise.resolve();

  private constructor(folder: ModelFolder, thread: SessionThread) {
    this.#folder = folder;
    this.#thread = thread;
  }

  /** Opens all adapters of the manifest. @throws invalid_adapter, not_found */
  static async open(folder: ModelFolder, thread: SessionThread): Promise<AdapterRegistry> {
    const registry = new AdapterRegistry(folder, thread);
    for (const name of Object.keys(folder.manifest.adapters)) {
      registry.#put(await registry.#load(folder, name));
    }
    return registry;
  }

  get manifest(): Manifest {
    return this.#folder.manifest;
  }

  /**
   * Lends the named adapter, or the first that was trained for the task and the modality, until the work is over.
   *
   * @throws not_found; invalid_option if the named one takes another modality; what the work throws
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

  /** Of the states that an adapter takes. @throws not_found; invalid_option if another one is wanted */
  modalityOf(name: string, wanted?: Modality): Modality {
    return this.#named(name, wanted).adapter.modality;
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
    throw new EpalmError("not_found", `the model has no adapter for ${task} of ${modality}`);
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
      throw new EpalmError("invalid_model", `${path}: is another model than the one that runs: restart to load it`);
    }
    const folder = { path, manifest };
    // A file that was dropped and is damaged now: what it was before stays, unlike one that is gone.
    const damaged = new Set(refused.map(({ name }) => name));
    const removed = Object.keys(old.adapters).filter(
      (name) => !Object.hasOwn(manifest.adapters, name) && !damaged.has(name),
    );
    const opened: ReadyAdapter[] = [];
    for (const name of Object.keys(manifest.adapters)) {
      try {
        // Damage shows in files of which the manifest says nothing new, too.
        await checkFile(folder, name);
        if (!isSame(name, manifest, old)) opened.push(await this.#load(folder, name));
      } catch (error) {
        if (!(error instanceof EpalmError)) throw error;
        refused.push({ name, error });
      }
    }
    this.#folder = { path, manifest: keeping(old, manifest, refused) };
    for (const name of removed) this.#unload(name);
    for (const adapter of opened) this.#put(adapter);
    return { loaded: opened.map(({ name }) => name), removed, refused };
  }

  /** In the place of what had its name. */
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
    return this.#ready(name, adapter, entry ? adapterModality(manifest, entry) : manifest.encoder.modality);
  }

  async #ready(name: string, adapter: Adapter, modality: Modality): Promise<ReadyAdapter> {
    const backbones = backbonesOf(this.manifest, modality);
    const { encoder, decoder } = backbones;
    const plan = injectionPlan(adapter.settings, decoder.shape.layers);
    const graph = adapterGraph(adapter, adapterWidths(backbones), encoder.depth);
    const session = await this.#thread.open(encodeOnnx(graph));
    const shape = [1, encoder.depth, encoder.width];
    const zeros: Tensor = { type: "float32", shape, data: new Float32Array(encoder.depth * encoder.width) };
    const { soft_prompt: softPrompt } = await session.run({ cls_states: zeros }, ["soft_prompt"]);
    if (!softPrompt) throw new EpalmError("internal", `adapter '${name}': no soft prompt was computed`);
    return { name, modality, plan, session, softPrompt };
  }
}

function closeIfUnused({ adapter, users, isUnloaded }: LoadedAdapter): void {
  // A thread that has ended meanwhile has freed it already.
  if (isUnloaded && users === 0) adapter.session.close().catch(() => undefined);
}

type Refused = { readonly name: string; readonly error: EpalmError }[];

/** In `adapters/`; what is still being written has another ending. */
const ADAPTER_FILE = /^([A-Za-z0-9][\w.-]*)\.(safetensors|pth)$/;

/**
 * The manifest, and adapters that lie in `adapters/` without being in it: for both tasks, the modality of the first
 * encoder that they fit, behind all others.
 */
async function withDroppedFiles(
  path: string,
  manifest: Manifest,
): Promise<{ readonly manifest: Manifest; readonly refused: Refused }> {
  const refused: Refused = [];
  const adapters: Record<string, AdapterManifest> = { ...manifest.adapters };
  const files = { ...manifest.files };
  const folder = join(path, "adapters");
  const entries = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }).sort(byName) : [];
  for (const entry of entries) {
    const file = `adapters/${entry.name}`;
    const [, name] = ADAPTER_FILE.exec(entry.name) ?? [];
    if (name === undefined || !entry.isFile() || Object.hasOwn(adapters, name) || Object.hasOwn(files, file)) continue;
    try {
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

/** That of the model's first encoder where it fits none: then it is that encoder that it is compared with. */
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

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}

/** What a running model cannot exchange: all but its adapters, wherever their files are. */
function frozenParts({ adapters, files, ...rest }: Manifest): object {
  const own = new Set(Object.values(adapters).map(({ file }) => file));
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

/** The new manifest, but with what the old one says about adapters that were refused. */
function keeping(old: Manifest, manifest: Manifest, refused: readonly { readonly name: string }[]): Manifest {
  const adapters: Record<string, AdapterManifest> = { ...manifest.adapters };
  for (const { name } of refused) {
    delete adapters[name];
    const before = old.adapters[name];
    if (before) adapters[name] = before;
  }
  return { ...manifest, adapters };
}

async function checkFile({ path, manifest }: ModelFolder, name: string): Promise<void> {
  const file = manifest.adapters[name]?.file ?? "";
  const expected = manifest.files[file];
  const bytes = statSync(join(path, file), { throwIfNoEntry: false })?.size;
  if (expected && bytes === expected.bytes && (await fileSha256(join(path, file))) === expected.sha256) return;
  throw new EpalmError("invalid_adapter", `${join(path, file)}: is missing, damaged, or not what the manifest says`);
}
