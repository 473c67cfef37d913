import sharp from "sharp";
import { EpalmError, unexpected } from "../../../core/errors.js";
import { frameRandom } from "../../augment/augmentation.js";
import { preprocessPixels } from "../../preprocess-pixels.js";
import { chooseFrames, type Showing, showingSeconds } from "../video/choose-frames.js";
import type { Image, ImageWork } from "./image-task.js";
import { checkPixels, decoding, finalSize, handOverSize, rgbPixels } from "./sharp-pixels.js";

/** Ten minutes at ten frames per second. Decoding a frame includes decoding all frames before it. */
const MAX_PAGES = 6000;

/** In milliseconds: browsers treat delays up to `NO_DELAY` as missing and use `DEFAULT_DELAY` instead. */
const NO_DELAY = 10;
const DEFAULT_DELAY = 100;

/** The number of frames or pages; 1 if the header is damaged. */
export async function pageCount({ bytes }: Image): Promise<number> {
  const { pages = 1 } = await sharp(bytes)
    .metadata()
    .catch(() => ({ pages: 1 }));
  return pages;
}

/** Decodes frames as `decodeVideo` does, in the processes of `ImageProcess` only. @throws invalid_media, too_large */
export async function decodeFrames(
  { bytes, where, maxPixels }: Image,
  { frames, preprocessing, maxSeconds, augmentation }: Extract<ImageWork, { kind: "frames" }>,
): Promise<Float32Array[]> {
  const open = (page: number) =>
    sharp(bytes, { failOn: "error", limitInputPixels: false, autoOrient: true, page, pages: 1 });
  const { pages = 1, delay = [], autoOrient } = await decoding(where, "animation", () => open(0).metadata());
  checkPixels(autoOrient, maxPixels, where, "its size");
  if (pages > MAX_PAGES) {
    throw unexpected("too_large", where, `at most ${MAX_PAGES} frames`, pages);
  }
  const showings = showingsOf(pages, delay);
  if (showingSeconds(showings) > maxSeconds) {
    throw new EpalmError("too_large", `${where}: expected at most ${maxSeconds} seconds`);
  }
  const final = finalSize(autoOrient, preprocessing, maxPixels, where);
  const size = handOverSize(autoOrient, final, preprocessing, augmentation);
  const decoded = new Map<number, Float32Array>();
  const result: Float32Array[] = [];
  for (const page of chooseFrames(showings, frames, frameRandom(augmentation))) {
    const pixels =
      decoded.get(page) ?? preprocessPixels(await rgbPixels(open(page), size, where), preprocessing, augmentation);
    decoded.set(page, pixels);
    result.push(pixels);
  }
  return result;
}

function showingsOf(pages: number, delays: readonly number[]): Showing[] {
  let time = 0;
  return Array.from({ length: pages }, (_, page) => {
    const delay = delays[page] ?? 0;
    const showing = { time, duration: (delay > NO_DELAY ? delay : DEFAULT_DELAY) / 1000 };
    time += showing.duration;
    return showing;
  });
}
