import { InvalidArgumentError } from "commander";
import type { Modality } from "../../core/modality.js";
import type { TaskName } from "../../model/manifest.js";

/** One `--adapter NAME=PATH[:TASKS][:MODALITY]`. */
export interface AdapterFlag {
  readonly name: string;
  readonly path: string;
  readonly tasks: readonly TaskName[];
  /** Of the encoder whose states it takes; default: that of the first encoder. */
  readonly modality?: Modality;
}

const taskNames = ["caption", "vqa"] as const satisfies readonly TaskName[];

/** What names of files in a model folder may be made of. */
const NAME = /^[\w.-]+$/;

/**
 * Only a list of tasks and a modality behind the last colons are taken for such, as paths may have colons, too. A path
 * that itself ends like that takes its tasks explicitly: `NAME=odd:vqa:caption,vqa`.
 */
const PATH_AND_MODALITY = /^(.+):(image|audio|video)$/s;
const PATH_AND_TASKS = /^(.+):((?:caption|vqa)(?:,(?:caption|vqa))*)$/s;

/** Adds one more adapter to those before it; names must differ. */
export function collectAdapter(text: string, previous: readonly AdapterFlag[] = []): AdapterFlag[] {
  const adapter = parseAdapter(text);
  if (previous.some(({ name }) => name === adapter.name)) {
    throw new InvalidArgumentError(`There is an adapter '${adapter.name}' already.`);
  }
  return [...previous, adapter];
}

function parseAdapter(text: string): AdapterFlag {
  const split = text.indexOf("=");
  const [name, rest] = [text.slice(0, Math.max(split, 0)), text.slice(split + 1)];
  if (!NAME.test(name) || rest === "") {
    throw new InvalidArgumentError("Expected NAME=PATH, the name of letters, digits, '.', '_' and '-'.");
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
