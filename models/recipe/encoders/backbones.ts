import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BuildOptions, type Modality, modalitiesOf, openModelFolder, type Precision } from "../../../src/index.js";

/** The frozen parts of the bundled model. */

/** Folder of the language model, relative to the folder of the build. */
export const LANGUAGE_MODEL = "lm";

/** Folder of each encoder, relative to the folder of the build. */
export const encoderFolders: Readonly<Record<Modality, string>> = {
  image: "encoder",
  audio: "sound-encoder",
  video: "clip-encoder",
};

/** Modalities whose encoder exists. The image encoder is required. */
export function modalitiesIn(work: string): Modality[] {
  const others = (["audio", "video"] as const).filter((modality) =>
    existsSync(join(work, encoderFolders[modality], "model.safetensors")),
  );
  return ["image", ...others];
}

/** Whether a model folder has exactly the modalities whose encoders exist. */
export async function takesAllOf(work: string, model: string): Promise<boolean> {
  const { manifest } = await openModelFolder(model, { checksums: false });
  return modalitiesOf(manifest).join() === modalitiesIn(work).join();
}

/** Writes a card that states the licence into each backbone's folder; `buildModel` copies it into the manifest. */
export function stateLicences(work: string): void {
  for (const part of [...modalitiesIn(work).map((modality) => encoderFolders[modality]), LANGUAGE_MODEL]) {
    writeFileSync(join(work, part, "README.md"), "---\nlicense: apache-2.0\n---\n");
  }
}

/** The existing encoders and the decoder, as options of `buildModel`. */
export function backbonesIn(
  work: string,
  precision: Precision,
): Pick<BuildOptions, "name" | "encoder" | "otherEncoders" | "decoder"> {
  const source = (part: string) => ({ path: join(work, part), given: `models/recipe: ${part}`, precision });
  const encoder = (modality: Modality) => ({
    ...source(encoderFolders[modality]),
    preprocessing: "source" as const,
  });
  return {
    name: "scenes",
    encoder: encoder("image"),
    otherEncoders: modalitiesIn(work).slice(1).map(encoder),
    decoder: source(LANGUAGE_MODEL),
  };
}
