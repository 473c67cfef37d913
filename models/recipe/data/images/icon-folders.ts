import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { type Concept, readConcepts, type Style } from "../text/concepts.js";
import { iconSvg } from "./draw-icon.js";

/** Side of the icon and width of the white border around it, in pixels. */
export interface IconSize {
  readonly side: number;
  readonly border: number;
}

/**
 * Writes the icons of a style on white as `FOLDER/KIND/NAME.png`, and keeps existing files. Returns the number of
 * images.
 */
export async function writeIconFolder(folder: string, style: Style, size: IconSize): Promise<number> {
  let written = 0;
  for (const concept of readConcepts()) {
    const icon = concept.icons.get(style);
    if (icon === undefined) continue;
    const path = iconPath(folder, concept);
    if (!existsSync(path)) {
      mkdirSync(join(folder, kindFolder(concept)), { recursive: true });
      const drawn = await drawIcon(iconSvg(style, icon), size);
      if (!drawn) continue;
      await sharp(drawn).toFile(path);
    }
    written++;
  }
  return written;
}

function iconPath(folder: string, concept: Concept): string {
  return join(folder, kindFolder(concept), `${concept.name.replaceAll(" ", "-")}.png`);
}

function kindFolder({ kind }: Concept): string {
  return kind.name.replaceAll(" ", "-");
}

/** Undefined for the few icons that are not valid SVG. */
async function drawIcon(svg: string, { side, border }: IconSize): Promise<Buffer | undefined> {
  try {
    return await sharp(Buffer.from(svg), { density: 72 })
      .resize(side, side, { fit: "contain", background: "#fff" })
      .flatten({ background: "#fff" })
      .extend({ top: border, bottom: border, left: border, right: border, background: "#fff" })
      .png()
      .toBuffer();
  } catch {
    return undefined;
  }
}
