import { type Device, type DeviceChoice, devices } from "../core/device.js";
import { EpalmError, messageOf } from "../core/errors.js";
import { computesInFp16, multipliesIntegers, type Precision } from "../core/precision.js";
import { GraphBuilder } from "../graph/builder.js";
import { halfPrecision } from "../graph/half-precision.js";
import type { Graph } from "../graph/ir.js";
import { encodeOnnx } from "../graph/onnx-writer.js";
import { constantSource } from "../tensor/tensor.js";
import type { Session, SessionOptions } from "./session.js";

/** What `auto` tries before the CPU, in order. */
const preferred: Partial<Readonly<Record<NodeJS.Platform, readonly Device[]>>> = {
  linux: ["cuda", "webgpu"],
  darwin: ["webgpu", "coreml"],
  win32: ["webgpu", "dml"],
};

const requirements: Readonly<Record<Device, string>> = {
  cpu: "nothing",
  webgpu: "a GPU with a driver for Vulkan (Linux), Metal (macOS) or Direct3D 12 (Windows)",
  cuda: "Linux on x64 with an NVIDIA driver, CUDA 12, cuDNN 9, and the libraries that `npx onnxruntime-node-install` downloads",
  coreml: "macOS",
  dml: "Windows",
};

/** What a machine needs for a device. */
export function requirementOf(device: Device): string {
  return requirements[device];
}

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
  readonly precision: Precision;
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
    const problem = await problemOf(choice, graph, open, () => probeProblem(choice, open));
    if (problem === undefined) return { device: choice };
    throw new EpalmError("invalid_option", `device: ${problem}`);
  }
  const integers = integerProblem(graph);
  if (integers !== undefined)
    return { device: "cpu", note: `The ${graph.name} is computed on the CPU: ${integers} for other devices.` };
  const problems: string[] = [];
  for (const device of preferred[process.platform] ?? []) {
    const problem = await problemOf(device, graph, open, () => deviceProblem(device, open));
    if (problem === undefined) return { device };
    problems.push(`${device} is not used (${problem})`);
  }
  return { device: "cpu", note: `The ${graph.name} is computed on the CPU: ${problems.join("; ")}.` };
}

/** Why a device cannot compute a graph. `problem` finds out whether it computes anything. */
async function problemOf(
  device: Device,
  graph: PlacedGraph,
  open: OpenProbe,
  problem: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const { name, precision } = graph;
  const integers = integerProblem(graph, device);
  if (integers !== undefined) return integers;
  const general = await problem();
  if (general !== undefined || !computesInFp16(precision)) return general;
  const reason = await deviceProblem(device, open, "fp16");
  if (reason === undefined) return undefined;
  const other = precision === "fp16" ? "fp32" : "int4-fp32";
  return `the ${name} is in ${precision}, but the ${device} of this machine does not compute in 16 bits (${reason}); build the model with --precision ${other}, or choose the device cpu`;
}

/** Products of integers exist only for the CPU; elsewhere each would be copied to it and back. */
function integerProblem({ name, precision }: PlacedGraph, device?: Device): string | undefined {
  if (!multipliesIntegers(precision)) return undefined;
  const only = device === undefined ? "" : `, not ${device}`;
  return `the ${name} is in ${precision}, whose products of integers only the cpu computes${only}; build the model with --precision int4-fp16, int4-fp32, fp16 or fp32`;
}

async function probeProblem(device: Device, open: OpenProbe): Promise<string | undefined> {
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

/** Why a device cannot be used; undefined if it computes a small graph correctly, by default in fp32. */
export async function deviceProblem(
  device: Device,
  open: OpenProbe,
  precision: "fp32" | "fp16" = "fp32",
): Promise<string | undefined> {
  const graph = precision === "fp32" ? probeGraph() : halfPrecision(probeGraph());
  try {
    const session = await open(encodeOnnx(graph), { device, threads: 1 });
    const x = { type: "float32", shape: [1, 2], data: Float32Array.of(1, 2) } as const;
    const { y } = await session.run({ x }, ["y"]);
    await session.close();
    return y?.data[0] === 11 ? undefined : "wrong results";
  } catch (error) {
    return shortReason(messageOf(error));
  }
}

/** y = x W, with W = (3, 4). */
function probeGraph(): Graph {
  const g = new GraphBuilder("probe");
  const x = g.input("x", "float32", [1, 2]);
  const w = g.weight("w", constantSource("float32", [2, 1], Float32Array.of(3, 4)));
  g.output("y", g.matmul(x, w));
  return g.finish();
}

/** ONNX Runtime's reasons begin with paths of its source files and the condition that failed. */
function shortReason(message: string): string {
  const line = message.split("\n", 1)[0] ?? "";
  return line.replace(/^.*(?:was false\. |graph in memory: )/, "").replace(/\.$/, "");
}
