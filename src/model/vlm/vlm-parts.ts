import type { Adapter } from "../../adapter/adapter.js";
import type { PatchForm } from "../../backbones/encoders/patch-states.js";
import type { Checkpoint } from "../../formats/checkpoint.js";
import { invalidCheckpoint } from "../../formats/invalid-checkpoint.js";
import { toFloat32 } from "../../tensor/float-conversion.js";
import { elementCount, type Tensor } from "../../tensor/tensor.js";
import type { Source } from "../source-folder.js";

/** A public vision-language model, taken apart. */
export interface VlmParts {
  /** The frozen encoder: its own config, its tensors, and its preprocessing. */
  readonly encoder: Source;
  readonly patches: PatchForm;
  /** The frozen decoder, with its own config. */
  readonly decoder: Source;
  /** The connector, as an adapter without soft tokens. */
  readonly adapter: Adapter;
  readonly prompts: VlmPrompts;
}

/** How a form of vision-language models writes its prompts. */
export interface VlmPrompts {
  /** The text that stands for an image in chat templates. */
  readonly imageToken: string;
  /** What the processor puts in its place; `{medium}` stands for the visual tokens. */
  readonly image: string;
  /** The prompt without a chat template; `{text}` stands for the request. */
  readonly plain: string;
}

/** Part of a checkpoint: the tensors that `rename` gives a name. */
export function partOf(checkpoint: Checkpoint, rename: (name: string) => string | undefined): Checkpoint {
  const named = <T>(entries: Iterable<readonly [string, T]>) =>
    new Map(
      Array.from(entries).flatMap(([name, value]) => {
        const own = rename(name);
        return own === undefined ? [] : [[own, value] as const];
      }),
    );
  return {
    path: checkpoint.path,
    tensors: named(checkpoint.tensors),
    unsupported: named(checkpoint.unsupported ?? []),
    metadata: {},
    // The whole checkpoint is closed once.
    close: () => undefined,
  };
}

/** A connector of visual tokens, as an adapter of all layers. Missing biases are zero. */
export function connectorAdapter(
  checkpoint: Checkpoint,
  connector: NonNullable<Adapter["settings"]["connector"]>,
  layers: number,
  names: Readonly<Record<string, string>>,
): Adapter {
  const tensors = new Map<string, Tensor>();
  for (const [own, name] of Object.entries(names)) {
    const source = checkpoint.tensors.get(name);
    if (!source) throw invalidCheckpoint(checkpoint.path, `tensor ${name} is missing`);
    tensors.set(own, { type: "float32", shape: source.shape, data: toFloat32(source.type, source.read()) });
  }
  for (const [name, { shape }] of Array.from(tensors)) {
    const bias = name.replace(/\.weight$/, ".bias");
    if (tensors.has(bias) || bias === name) continue;
    const width = [shape[0] ?? 0];
    tensors.set(bias, { type: "float32", shape: width, data: new Float32Array(elementCount(width)) });
  }
  return { settings: { connector, startLayer: 0, endLayer: layers, promptLength: 0, promptForm: "table" }, tensors };
}
