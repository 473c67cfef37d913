import { EpalmError, messageOf } from "../core/errors.js";
import { GraphBuilder } from "../graph/builder.js";
import { encodeOnnx } from "../graph/onnx-writer.js";
import { constantSource } from "../tensor/tensor.js";
import type { Session, SessionOptions } from "./session.js";

/** Where graphs are computed, spelled as in transformers.js. */

export const devices = ["cpu", "webgpu", "cuda", "coreml", "dml"] as const;
export type Device = (typeof devices)[number];

/** `auto`: the first device that works on this machine, otherwise the CPU. */
export const deviceChoices = [...devices, "auto"] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

/** What `auto` tries before the CPU, in order. */
const preferred: Partial<Readonly<Record<NodeJS.Platform, readonly Device[]>>> = {
  linux: ["cuda", "webgpu"],
  darwin: ["webgpu", "coreml"],
  win32: ["webgpu", "dml"],
};

const requirements: Readonly<Record<Exclude<Device, "cpu">, string>> = {
  webgpu: "a GPU with a driver for Vulkan (Linux), Metal (macOS) or Direct3D 12 (Windows)",
  cuda: "Linux on x64 with an NVIDIA driver, CUDA 12, cuDNN 9, and the libraries that `npx onnxruntime-node-install` downloads",
  coreml: "macOS",
  dml: "Windows",
};

/** The device of a graph. */
export interface Placement {
  readonly device: Device;
  /** Why `auto` did not choose another device; a complete sentence. */
  readonly note?: string | undefined;
}

/** A graph that is to be placed. */
export interface PlacedGraph {
  /** For messages, such as `encoder`. */
  readonly name: string;
  readonly precision: string;
}

/** Opens a session on the machine and in the thread on which the graph will run. */
export type OpenProbe = (model: Uint8Array, options: SessionOptions) => Promise<Session>;

/**
 * Finds the device for a graph.
 *
 * @throws invalid_option if the chosen device does not work here or cannot compute the graph
 */
export async function placeGraph(choice: DeviceChoice, graph: PlacedGraph, open: OpenProbe): Promise<Placement> {
  if (choice === "cpu") return { device: "cpu" };
  if (choice !== "auto") {
    const problem = integerProblem(choice, graph) ?? (await probeProblem(choice, open));
    if (problem === undefined) return { device: choice };
    throw new EpalmError("invalid_option", `device: ${problem}`);
  }
  const problems: string[] = [];
  for (const device of preferred[process.platform] ?? []) {
    const problem = integerProblem(device, graph) ?? (await deviceProblem(device, open));
    if (problem === undefined) return { device };
    problems.push(`${device} is not used (${problem})`);
  }
  return { device: "cpu", note: `The ${graph.name} is computed on the CPU: ${problems.join("; ")}.` };
}

/** The matrix products of int8 graphs exist only for the CPU; elsewhere each would be copied to it and back. */
function integerProblem(device: Device, { name, precision }: PlacedGraph): string | undefined {
  if (precision !== "int8") return undefined;
  return `the ${name} is in int8, which only the cpu computes, not ${device}; build the model with int4 or fp32`;
}

async function probeProblem(device: Exclude<Device, "cpu">, open: OpenProbe): Promise<string | undefined> {
  const reason = await deviceProblem(device, open);
  if (reason === undefined) return undefined;
  const working = await workingDevices(open);
  return `expected ${working.join(" or ")}, which ${working.length > 1 ? "work" : "works"} on this machine, got ${device} (${reason}); it requires ${requirements[device]}`;
}

/** The devices that compute a small graph on this machine; always contains the CPU. */
export async function workingDevices(open: OpenProbe): Promise<Device[]> {
  const working: Device[] = [];
  for (const device of devices) {
    if (device === "cpu" || (await deviceProblem(device, open)) === undefined) working.push(device);
  }
  return working;
}

/** Why a device cannot be used; undefined if it computes a small graph correctly. */
export async function deviceProblem(device: Device, open: OpenProbe): Promise<string | undefined> {
  try {
    const session = await open(probeGraph(), { device, threads: 1 });
    const x = { type: "float32", shape: [1, 2], data: Float32Array.of(1, 2) } as const;
    const { y } = await session.run({ x }, ["y"]);
    await session.close();
    return y?.data[0] === 11 ? undefined : "wrong results";
  } catch (error) {
    return shortReason(messageOf(error));
  }
}

/** y = x W, with W = (3, 4). */
function probeGraph(): Uint8Array {
  const g = new GraphBuilder("probe");
  const x = g.input("x", "float32", [1, 2]);
  const w = g.weight("w", constantSource("float32", [2, 1], Float32Array.of(3, 4)));
  g.output("y", g.matmul(x, w));
  return encodeOnnx(g.finish());
}

/** ONNX Runtime's reasons begin with paths of its source files and the condition that failed. */
function shortReason(message: string): string {
  const line = message.split("\n", 1)[0] ?? "";
  return line.replace(/^.*(?:was false\. |graph in memory: )/, "").replace(/\.$/, "");
}
