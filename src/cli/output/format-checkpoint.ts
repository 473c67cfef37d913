import { formatShape } from "../../tensor/tensor.js";
import type { CheckpointDescription } from "./describe-checkpoint.js";
import { formatSettings } from "./format-model.js";
import { formatBytes, formatCount, formatTable } from "./output.js";

/** Formats the description of a checkpoint. */
export function formatCheckpoint(checkpoint: CheckpointDescription): string {
  const { path, format, tensors, parameters, bytes, adapter, config, contents, skipped, metadata } = checkpoint;
  const rows = tensors.map(({ name, type, shape }) => [name, type, formatShape(shape)]);
  return [
    `${path}: ${format}, ${tensors.length} tensors, ${formatCount(parameters)} elements, ${formatBytes(bytes)}`,
    ...(adapter ? [adapterLine(adapter)] : []),
    ...(config ? [section("config.json", config)] : []),
    ...(contents === undefined ? [] : [section("contents", contents)]),
    ...(skipped.length === 0 ? [] : [skippedTable(skipped)]),
    ...(Object.keys(metadata).length > 0 ? [section("metadata", metadata)] : []),
    formatTable([["tensor", "type", "shape"], ...rows]),
  ].join("\n\n");
}

function adapterLine(adapter: NonNullable<CheckpointDescription["adapter"]>): string {
  return "settings" in adapter
    ? `an adapter: ${formatSettings(adapter.settings)}`
    : `an adapter whose settings are incomplete: ${adapter.problem}`;
}

function skippedTable(skipped: CheckpointDescription["skipped"]): string {
  const rows = skipped.map((object) => [object.name, object.class]);
  return formatTable([["skipped (not run)", "class"], ...rows]);
}

function section(title: string, content: unknown): string {
  return `${title} ${JSON.stringify(content, undefined, 2)}`;
}
