import "./no-telemetry.js";
import { isMainThread } from "node:worker_threads";
import { env, InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import type { Device } from "../core/device.js";
import { readEnvironment, threadsOf } from "../core/environment.js";
import { EpalmError, messageOf } from "../core/errors.js";
import type { ElementType, Tensor, TypedArray } from "../tensor/tensor.js";
import { inTurn, type Turns } from "./turns.js";

// What the runtime itself would print is also the message of an exception, or concerns its own choices.
env.logLevel = "fatal";

/** A graph that is ready to run. Inputs and outputs are identified by their names in the graph. */
export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /** Computes the outputs named in `fetches`; each is a new array. @param held inputs that are on the device */
  run(feeds: Feeds, fetches: readonly string[], held?: HeldTensors): Promise<Results>;
  /**
   * Opens a complete graph whose outputs stay on the device; it is closed with this session. Undefined if the device,
   * such as the CPU, keeps no outputs.
   */
  readonly openHolding?: ((graph: Uint8Array) => Promise<HoldingSession>) | undefined;
  /** Frees the weights. The session must not be run afterwards. */
  close(): Promise<void>;
}

/** A graph whose outputs stay in the memory of its device. */
export interface HoldingSession {
  /** Computes all outputs, which the caller disposes of. @param held inputs that are on the device */
  hold(feeds: Feeds, held?: HeldTensors): Promise<HeldTensors>;
}

/** A tensor in the memory of a device: an input of sessions of the same thread and device, but not readable here. */
export class HeldTensor {
  readonly held: OrtTensor;
  readonly #owner: Set<HeldTensor>;

  /** @param owner the tensors of the session that computed this one */
  constructor(held: OrtTensor, owner: Set<HeldTensor>) {
    this.held = held;
    this.#owner = owner.add(this);
  }

  /** Frees its memory, once computations that have started no longer need it. The session's end has freed it, too. */
  dispose(): void {
    if (this.#owner.delete(this)) this.held.dispose();
  }
}

export type Feeds = Readonly<Record<string, Tensor>>;
export type Results = Readonly<Record<string, Tensor>>;
export type HeldTensors = Readonly<Record<string, HeldTensor>>;

/** ONNX Runtime's binding for Node keeps outputs in buffers of WebGPU alone (version 1.30). */
const holdingDevices: ReadonlySet<Device> = new Set(["webgpu"]);

export interface SessionOptions {
  /** Default: cpu. */
  readonly device?: Device | undefined;
  /** Sessions of several threads that compute on the same device take turns. Default: they run at the same time. */
  readonly turns?: Turns | undefined;
  /** Threads per operator. Default: `EPALM_THREADS`, or else one per core. */
  readonly threads?: number | undefined;
  /**
   * Maps the weights from their file instead of copying them into the fastest layout. A session then opens in a
   * tenth of the time and processes share memory, but runs are slower. Default: false.
   */
  readonly mapWeights?: boolean | undefined;
  /** Whether ONNX Runtime may fuse operators. Disable it only to inspect the graph as it is. Default: true. */
  readonly optimize?: boolean | undefined;
  /** Beginning of the path of a file for ONNX Runtime's profile of the first run (`readProfile`). Default: none. */
  readonly profileTo?: string | undefined;
}

/**
 * Opens a graph in the calling thread, which is blocked during a run; servers use `SessionThread`.
 *
 * @param model path of an .onnx file with its weights next to it, or the bytes of a complete graph
 * @throws invalid_model with ONNX Runtime's own reason; invalid_option if `EPALM_THREADS` is not a number of threads
 */
export async function openSession(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
  return open(model, options);
}

async function open(
  model: string | Uint8Array,
  options: SessionOptions,
  outputs: Pick<InferenceSession.SessionOptions, "preferredOutputLocation"> = {},
): Promise<LocalSession> {
  const { device = "cpu", profileTo } = options;
  const threads = options.threads ?? threadsOf(readEnvironment());
  const settings: InferenceSession.SessionOptions = {
    // A plan of the memory is made for inputs of the same shapes as before, and a text is longer in each step: making
    // plans takes 5 to 15 % of the time of prompts and steps. It saves nothing for encoders, and costs memory in
    // training.
    enableMemPattern: false,
    graphOptimizationLevel: options.optimize === false ? "disabled" : "all",
    logSeverityLevel: 4,
    ...(device === "cpu" ? {} : { executionProviders: [device] }),
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    ...(profileTo === undefined ? {} : { enableProfiling: true, profileFilePrefix: profileTo }),
    ...(options.mapWeights ? { extra: { session: { disable_prepacking: "1" } } } : {}),
    ...outputs,
  };
  try {
    const session =
      typeof model === "string"
        ? await InferenceSession.create(model, settings)
        : await InferenceSession.create(model, settings);
    return new LocalSession(session, options);
  } catch (error) {
    const name = typeof model === "string" ? model : "graph in memory";
    throw new EpalmError("invalid_model", `${name}: ${messageOf(error)}`, { cause: error });
  }
}

class LocalSession implements Session, HoldingSession {
  readonly openHolding: Session["openHolding"] = undefined;
  readonly #session: InferenceSession;
  readonly #turns: Turns | undefined;
  readonly #opened: LocalSession[] = [];
  readonly #held = new Set<HeldTensor>();
  /** Feeds that are used repeatedly, such as cache views, are wrapped only once. */
  readonly #wrapped = new WeakMap<Tensor, OrtTensor>();
  #isProfiling: boolean;

  constructor(session: InferenceSession, options: SessionOptions) {
    this.#session = session;
    this.#turns = options.turns;
    this.#isProfiling = options.profileTo !== undefined;
    if (holdingDevices.has(options.device ?? "cpu")) this.openHolding = (graph) => this.#openHolding(graph, options);
  }

  get inputNames(): readonly string[] {
    return this.#session.inputNames;
  }

  get outputNames(): readonly string[] {
    return this.#session.outputNames;
  }

  async run(feeds: Feeds, fetches: readonly string[], held?: HeldTensors): Promise<Results> {
    const outputs = await this.#compute(feeds, fetches, held);
    return Object.fromEntries(fetches.map((name) => [name, unwrap(outputs[name], name)]));
  }

  async hold(feeds: Feeds, held?: HeldTensors): Promise<HeldTensors> {
    const outputs = await this.#compute(feeds, this.outputNames, held);
    return Object.fromEntries(
      Object.entries(outputs).map(([name, tensor]) => [name, new HeldTensor(tensor, this.#held)]),
    );
  }

  async close(): Promise<void> {
    for (const session of this.#opened) await session.close();
    // The process would end if they were freed after their session.
    for (const tensor of this.#held) tensor.dispose();
    await this.#session.release();
  }

  async #openHolding(graph: Uint8Array, { device, turns, threads }: SessionOptions): Promise<HoldingSession> {
    const session = await open(graph, { device, turns, threads }, { preferredOutputLocation: "gpu-buffer" });
    this.#opened.push(session);
    return session;
  }

  async #compute(
    feeds: Feeds,
    fetches: readonly string[],
    held: HeldTensors = {},
  ): Promise<Readonly<Record<string, OrtTensor>>> {
    try {
      const inputs: Record<string, OrtTensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) inputs[name] = this.#wrap(tensor);
      for (const [name, tensor] of Object.entries(held)) inputs[name] = tensor.held;
      const outputs = await inTurn(this.#turns, () => this.#session.run(inputs, [...fetches]));
      if (this.#isProfiling) this.#session.endProfiling();
      this.#isProfiling = false;
      return outputs as Record<string, OrtTensor>;
    } catch (error) {
      // The owner of the thread replaces it, and opens the device again.
      if (isDeviceLost(error) && !isMainThread) process.exit(1);
      throw new EpalmError("internal", `ONNX Runtime: ${messageOf(error)}`, { cause: error });
    }
  }

  #wrap(tensor: Tensor): OrtTensor {
    const known = this.#wrapped.get(tensor);
    if (known) return known;
    const wrapped = new OrtTensor(tensor.type as "float32", tensor.data as Float32Array, tensor.shape);
    this.#wrapped.set(tensor, wrapped);
    return wrapped;
  }
}

/** Dawn's and CUDA's words for a driver that was reset or a GPU that was removed. */
function isDeviceLost(error: unknown): boolean {
  return /device (?:is |was )?lost|lost device|cudaErrorDevicesUnavailable|CUDA_ERROR_DEVICE/i.test(messageOf(error));
}

function unwrap(tensor: OrtTensor | undefined, name: string): Tensor {
  if (!tensor) throw new EpalmError("internal", `ONNX Runtime returned no '${name}'`);
  return { type: tensor.type as ElementType, shape: tensor.dims, data: tensor.data as TypedArray };
}
