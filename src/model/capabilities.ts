import type { Modality } from "../core/modality.js";
import { modalitiesOf } from "./encoders.js";
import type { Manifest, TaskName } from "./manifest.js";

/** What a model can do in one task with media of one modality, as its manifest describes it. */
export interface Capability {
  readonly task: TaskName;
  readonly modality: Modality;
  readonly description: string | undefined;
  readonly exampleQuestions: readonly string[];
}

/** The capabilities that a manifest describes, by modality; empty if it describes none. */
export function capabilitiesOf(manifest: Manifest): Capability[] {
  return modalitiesOf(manifest).flatMap((modality) =>
    (["caption", "vqa"] as const).flatMap((task) => {
      const known = manifest.tasks[task].capabilities?.[modality];
      if (!known) return [];
      return [{ task, modality, description: known.description, exampleQuestions: known.exampleQuestions ?? [] }];
    }),
  );
}
