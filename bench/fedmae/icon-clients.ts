import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { writeIconFolder } from "../../models/recipe/data/images/icon-folders.js";
import { HELD_OUT, type Style, trainingStyles } from "../../models/recipe/data/text/concepts.js";
import { randomStreams, shuffled } from "../../src/core/random.js";
import type { FedMaeConfig } from "../../src/fedmae.js";
import { type LabelledImage, readLabelledImages } from "../../src/fedmae.js";

/** How the images of the training styles are divided among eight clients. */
export const splits = ["one style per client", "Dirichlet(0.5) of styles", "IID"] as const;
export type Split = (typeof splits)[number];

/** Side of the icons in pixels. */
const SIDE = 48;
/** Images that the clients have of each style. */
const PER_STYLE = 150;
/** Images of each style that train the probe's classifier; all of the held-out style test it. */
const PROBED_PER_STYLE = 400;

/** The icons of a style as images labelled with one of 60 kinds; drawn once. */
async function iconsOf(folder: string, style: Style): Promise<readonly LabelledImage[]> {
  const complete = join(folder, `${style}.complete`);
  if (!existsSync(complete)) {
    await writeIconFolder(join(folder, style), style, { side: SIDE, border: 0 });
    writeFileSync(complete, "");
  }
  return readLabelledImages([join(folder, style)]);
}

function some<T>(items: readonly T[], count: number, seed: number): T[] {
  const [random = Math.random] = randomStreams(seed, 1);
  return shuffled(items, random).slice(0, count);
}

/** The labelled images of the probe, the same for all encoders; no client has the style of the test images. */
export async function probeImages(
  icons: string,
): Promise<Readonly<Record<"training" | "test", readonly LabelledImage[]>>> {
  const training: LabelledImage[] = [];
  for (const style of trainingStyles) training.push(...some(await iconsOf(icons, style), PROBED_PER_STYLE, 0));
  return { training, test: await iconsOf(icons, HELD_OUT) };
}

/** Copies the images of a seed into folders, and returns the `clients` of a config that divides them. */
export async function iconClients(folder: string, split: Split, seed: number): Promise<FedMaeConfig["clients"]> {
  const styles = join(folder, "clients", `styles-${seed}`);
  const mixed = join(folder, "clients", `mixed-${seed}`);
  const names = trainingStyles.map((_, index) => `client-${index + 1}`);
  for (const [index, style] of trainingStyles.entries()) {
    for (const [place, { path }] of some(await iconsOf(join(folder, "icons"), style), PER_STYLE, seed + 1).entries()) {
      // Names may repeat in a style, but not within a kind.
      const name = `${basename(dirname(path))}-${basename(path)}`;
      const owner = names[(index + place) % names.length] ?? "";
      for (const copy of [join(styles, style, name), join(mixed, owner, `${style}-${name}`)]) {
        mkdirSync(dirname(copy), { recursive: true });
        if (!existsSync(copy)) copyFileSync(path, copy);
      }
    }
  }
  switch (split) {
    case "one style per client":
      return trainingStyles.map((style) => ({ name: style, path: join(styles, style) }));
    case "Dirichlet(0.5) of styles":
      return { path: styles, count: trainingStyles.length, alpha: 0.5 };
    case "IID":
      return names.map((name) => ({ name, path: join(mixed, name) }));
    default:
      return split satisfies never;
  }
}
