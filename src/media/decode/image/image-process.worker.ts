import { EpalmError, messageOf } from "../../../core/errors.js";
import { decodeFrames, pageCount } from "./decode-frames.js";
import { decodeHeif } from "./decode-heif.js";
import { decodePixels, imageInfo } from "./decode-pixels.js";
import type { FromImageProcess } from "./image-process.js";
import type { ImageResult, ImageTask } from "./image-task.js";
import { makeThumbnail } from "./make-thumbnail.js";
import { disableCache } from "./sharp-pixels.js";

/** The process of `ImageProcess`: receives one task at a time over its IPC channel and answers each. */

disableCache();

// libvips may be decoding in another thread, which `process.exit` would wait for.
process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));

process.on("message", async (task: ImageTask) => {
  process.send?.(await answerTo(task));
});

async function answerTo(task: ImageTask): Promise<FromImageProcess> {
  try {
    return { kind: "result", decoded: await decoded(task) };
  } catch (error) {
    const code = error instanceof EpalmError ? error.code : "internal";
    return { kind: "failure", code, message: messageOf(error) };
  }
}

async function decoded(task: ImageTask): Promise<ImageResult | undefined> {
  const { work, pixelsHere } = task;
  if (work.kind === "pages") return pageCount(task);
  if (work.kind === "heif") return decodeHeif(task);
  if (work.kind === "frames") return decodeFrames(task, work);
  const { info, isWide } = await imageInfo(task);
  switch (work.kind) {
    case "info":
      return info;
    case "pixels":
      if (info.height * info.width > pixelsHere) return undefined;
      return decodePixels(task, info, isWide, work);
    case "thumbnail":
      if (info.height * info.width > pixelsHere) return undefined;
      return makeThumbnail(task, work.side);
    default:
      return work satisfies never;
  }
}
