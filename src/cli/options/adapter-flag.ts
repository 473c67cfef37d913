import { InvalidArgumentError } from "commander";
import type { Modality } from "../../core/modality.js";
import type { TaskName } from "../../model/manifest.js";

/** One `--adapter NAME=PATH[:TASKS][:MODALITY]`. */
export interface AdapterFlag {
  readonly name: string;
  readonly path: string;
  readonly tasks: readonly TaskName[];
  /** Modality of the encoder whose states the adapter takes. Default: that of the first encoder. */
  readonly modality?: Modality;
}

const taskNames = ["caption", "vqa"] as const satisfies readonly TaskName[];

/** The name becomes a file name in the model folder. */
const NAME = /^[\w.-]+$/;

/**
 * Paths may contain colons, so only known task names and modalities at the end are split off. For a path that itself
 * ends like that, the tasks must be given: `NAME=odd:vqa:caption,vqa`.
 */
const PATH_AND_MODALITY = /^(.+):(image|audio|video)$/s;
const PATH_AND_TASKS = /^(.+):((?:caption|vqa)(?:,(?:caption|vqa))*)$/s;

/** Parses a value of `--adapter` and appends it to the previous ones, which must have other names. */
export function collectAdapter(text: string, previous: readonly AdapterFlag[] = []): AdapterFlag[] {
  const adapter = parseAdapter(text);
  if (previous.some(({ name }) => name === adapter.name)) {
    throw new InvalidArgumentError(`Expected a different name for each adapter, got '${adapter.name}' twice.`);
  }
  return [...previous, adapter];
}

function parseAdapter(text: string): AdapterFlag {
  const split = text.indexOf("=");
  const [name, rest] = [text.slice(0, Math.max(split, 0)), text.slice(split + 1)];
  if (!NAME.test(name) || rest === "") {
    throw new InvalidArgumentError("Expected NAME=PATH, with a name of letters, digits, '.', '_' and '-'.");
  }
  const [, beforeModality, modality] = PATH_AND_MODALITY.exec(rest) ?? [];
  const takes = modality === undefined ? {} : { modality: modality as Modality };
  const [, path, tasks] = PATH_AND_TASKS.exec(beforeModality ?? rest) ?? [];
  if (path === undefined || tasks === undefined) {
    return { name, path: beforeModality ?? rest, tasks: taskNames, ...takes };
  }
  const listed = tasks.split(",");
  return { name, path, tasks: taskNames.filter((task) => listed.includes(task)), ...takes };
}
