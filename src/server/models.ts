import { EpalmError, excerpt } from "../core/errors.js";
import type { Model } from "../index.js";
import { load } from "../pipeline.js";
import { type ServerConfig, temporaryBytes } from "./config.js";
import { type PromptTask, promptTask } from "./dialects/prompt-task.js";
import { FieldError } from "./http/problem.js";

/** A name that requests may use. */
export interface ServedName {
  readonly id: string;
  readonly model: Model;
  /** The adapter that the name forces. */
  readonly adapter: string | undefined;
}

/** The models of a service, by the name that requests use. */
export class Models {
  readonly #models = new Map<string, Model>();
  readonly #promptTasks = new Map<string, PromptTask>();
  #isLoaded = false;

  /** Whether all models are loaded. */
  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** The models that are loaded so far. */
  get entries(): ReadonlyMap<string, Model> {
    return this.#models;
  }

  /** All models. @throws overloaded while models are being loaded */
  get loaded(): ReadonlyMap<string, Model> {
    if (!this.#isLoaded) throw new EpalmError("overloaded", "the models are being loaded");
    return this.#models;
  }

  /**
   * Loads all model folders of the config, one after the other.
   *
   * @param threads number of threads per graph
   * @throws not_found, invalid_model, invalid_adapter, after closing the models that were loaded before
   */
  async load(config: ServerConfig, threads: number | undefined): Promise<void> {
    const { mediaBytes, pixels, videoPixels, videoSeconds } = config.limits;
    const common = { maxBytes: mediaBytes, maxTemporaryBytes: temporaryBytes(config) };
    try {
      for (const [name, path] of Object.entries(config.models)) {
        const model = await load(path, {
          threads,
          device: config.device,
          checksums: config.checksums,
          mediaLimits: {
            image: { ...common, maxPixels: pixels },
            audio: common,
            video: { ...common, maxPixels: videoPixels, maxSeconds: videoSeconds },
          },
          stateCacheBytes: config.stateCacheBytes,
          encoderBatch: config.encoderBatch,
        });
        this.#models.set(name, model);
        const { captionPrompts } = config.chat[name] ?? model.manifest.chat ?? {};
        this.#promptTasks.set(name, promptTask(captionPrompts));
      }
      this.#isLoaded = true;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** The named model, or the first if there is no name. @throws not_found; overloaded while models are being loaded */
  get(name: string | undefined): { readonly name: string; readonly model: Model } {
    const models = this.loaded;
    const [first = ""] = models.keys();
    const model = models.get(name ?? first);
    if (model) return { name: name ?? first, model };
    const known = Array.from(models.keys()).join(", ") || "none";
    throw new FieldError("not_found", "model", `expected one of ${known}, got '${excerpt(name ?? "")}'`);
  }

  /** The function that chooses the task of a prompt for a model. */
  promptTask(name: string): PromptTask {
    return this.#promptTasks.get(name) ?? promptTask();
  }

  /** All names that requests may use: each model, followed by its adapters under `MODEL/ADAPTER`. */
  get served(): readonly ServedName[] {
    return Array.from(this.loaded).flatMap(([id, model]) => [
      { id, model, adapter: undefined },
      ...Object.keys(model.manifest.adapters).map((adapter) => ({ id: `${id}/${adapter}`, model, adapter })),
    ]);
  }

  async close(): Promise<void> {
    this.#isLoaded = false;
    await Promise.all(Array.from(this.#models.values(), (model) => model.close()));
    this.#models.clear();
  }
}
