import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import sharp from "sharp";
import type { z } from "zod";
import { type MeasuredUpdate, trainLocally } from "../../src/fedmae/client.js";
import type { ClientRun } from "../../src/fedmae/client-process.js";
import { type FedMaeConfig, fedMaeConfigSchema } from "../../src/fedmae/config.js";
import type { RoundReport } from "../../src/fedmae/round-log.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import type { Tensor } from "../../src/tensor/tensor.js";

/** Creates a folder that is deleted after the current suite. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "epalm-fedmae-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

type Colour = readonly [red: number, green: number, blue: number];

/** Writes a PNG with the pixels of `colourAt` and creates its folder. */
export async function drawPicture(
  path: string,
  side: number,
  colourAt: (x: number, y: number) => Colour,
): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const data = Uint8Array.from({ length: side * side * 3 }, (_, at) => {
    const pixel = Math.floor(at / 3);
    return colourAt(pixel % side, Math.floor(pixel / side))[at % 3] ?? 0;
  });
  await sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toFile(path);
}

/** Draws stripes: patches can be predicted from each other, so a masked autoencoder learns them in a few steps. */
export async function drawStripes(folder: string, count: number, direction: "across" | "down"): Promise<void> {
  for (let index = 0; index < count; index++) {
    await drawPicture(join(folder, `${index}.png`), 16, (x, y) => {
      const wave = Math.sin(((direction === "across" ? x : y) * Math.PI) / 4);
      return [128 + 100 * wave, 128 + (60 + index) * wave, 90];
    });
  }
}

/** Two clients whose images `drawStripedClients` draws. */
export function stripedClients(folder: string) {
  return [
    { name: "across", path: join(folder, "across") },
    { name: "down", path: join(folder, "down") },
  ];
}

/** Draws six and four images of stripes. */
export async function drawStripedClients(folder: string): Promise<void> {
  await drawStripes(join(folder, "across"), 6, "across");
  await drawStripes(join(folder, "down"), 4, "down");
}

/** Draws a square of one colour that differs slightly for each index. */
export function drawColour(path: string, colour: "red" | "blue", index: number): Promise<void> {
  const [bright, dark] = [200 + index, 20 + ((index * 7) % 30)];
  return drawPicture(path, 16, () => (colour === "red" ? [bright, dark, dark] : [dark, dark, bright]));
}

/** Settings with which a round takes seconds: 16 x 16 images with four patches. */
export function tinyConfig(changes: Partial<z.input<typeof fedMaeConfigSchema>>): FedMaeConfig {
  return fedMaeConfigSchema.parse({
    output: "unused",
    ...tinySettings,
    ...changes,
  });
}

export const tinySettings = {
  mode: "parallel",
  depth: 2,
  rounds: 2,
  localEpochs: 2,
  batchSize: 3,
  model: { imageSize: 16, patchSize: 8, width: 16, heads: 2, decoderWidth: 16, decoderHeads: 2 },
  optimizer: { learningRate: 0.01 },
  leastArea: 0.8,
  mirror: false,
  compare: false,
};

/** Mean loss of the clients that answered in a round. */
export function lossOf(round: RoundReport | undefined): number {
  const losses = (round?.clients ?? []).flatMap((client) => (client.kind === "answered" ? [client.loss] : []));
  assert.ok(losses.length > 0, "nobody answered");
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

/** Reads all tensors of a safetensors file. */
export function tensorsOf(path: string): ReadonlyMap<string, Tensor> {
  const { tensors, close } = openSafetensors(path);
  try {
    return new Map(Array.from(tensors, ([name, { type, shape, read }]) => [name, { type, shape, data: read() }]));
  } finally {
    close();
  }
}

/** Reads the JSON objects of a JSON Lines file. */
export function readJsonLines<T>(path: string): T[] {
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line));
}

/** The files of a folder with their contents in base64. */
export function filesOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [name, readFileSync(join(folder, name)).toString("base64")]),
  );
}

/** Waits until `look` returns a truthy value, by default for at most 30 seconds. */
export async function until<T>(look: () => T | undefined | false, seconds = 30): Promise<T> {
  for (const started = Date.now(); Date.now() - started < seconds * 1000; await delay(10)) {
    const found = look();
    if (found) return found;
  }
  throw new RangeError(`waited ${seconds} s in vain: ${look}`);
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The number of lines in a file; 0 if there is no file. */
export function lineCount(path: string): number {
  return existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0;
}

/** Runs a client without the start of a process, whose costs it does not measure. */
export async function inThisProcess({ task, images }: ClientRun): Promise<MeasuredUpdate> {
  return { ...(await trainLocally(task, images)), peakBytes: 0, bytesDown: 0, bytesUp: 0 };
}
