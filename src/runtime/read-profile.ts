import * as z from "zod";
import { readJsonFile } from "../core/json.js";
import { parse, safeParse } from "../core/schema.js";

/** Where the nodes of a graph were computed in one run. */
export interface NodeCounts {
  /** Nodes without copies between devices. */
  readonly all: number;
  /** Copies between the CPU and the device. */
  readonly copies: number;
  /**
   * Nodes that the CPU computed although they take numbers other than indices, by operator. In a session on another
   * device, these fell back to the CPU because its provider lacks them.
   */
  readonly onCpu: Readonly<Record<string, number>>;
}

/** A profile of the largest graph has a few thousand nodes. */
const MAX_PROFILE_BYTES = 256 * 1024 * 1024;

const nodeEvent = z.object({
  cat: z.literal("Node"),
  args: z.object({
    node_index: z.string(),
    op_name: z.string(),
    provider: z.string(),
    input_type_shape: z.array(z.record(z.string(), z.unknown())),
  }),
});
const profile = z.array(z.unknown());

/** Sizes, shapes, token ids and masks, which providers of GPUs leave to the CPU on purpose. */
const indexTypes = new Set(["int64", "int32", "bool"]);

/**
 * Reads the file that a session with `profileTo` wrote.
 *
 * @throws internal if it is not a profile of ONNX Runtime
 */
export function readProfile(path: string): NodeCounts {
  const events = parse(profile, readJsonFile(path, MAX_PROFILE_BYTES, "internal"), path, "internal");
  const nodes = new Map<string, z.infer<typeof nodeEvent>["args"]>();
  for (const event of events) {
    const { data } = safeParse(nodeEvent, event);
    if (data) nodes.set(data.args.node_index, data.args);
  }
  const onCpu: Record<string, number> = {};
  let copies = 0;
  for (const { op_name: operator, provider, input_type_shape: inputs } of nodes.values()) {
    if (operator.startsWith("Memcpy")) copies++;
    const types = inputs.flatMap((input) => Object.keys(input));
    if (provider !== "CPUExecutionProvider" || types.every((type) => indexTypes.has(type))) continue;
    onCpu[operator] = (onCpu[operator] ?? 0) + 1;
  }
  return { all: nodes.size - copies, copies, onCpu };
}
