import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { EpalmError, excerpt, unexpected } from "../../core/errors.js";
import { isReallyInside, pathInside } from "../../core/files/path-inside.js";
import { FieldError } from "../http/problem.js";
import type { AskRequest } from "../requests/ask-request.js";
import type { Medium } from "../requests/medium.js";
import { parseFields, readCaption, readVqa } from "../requests/read-fields.js";

/** What a job has beside the fields of `captionRequest` or `vqaRequest`, which its task names. */
const jobEnvelope = z.looseObject({
  task: z.enum(["caption", "vqa"]),
  /** Path of the medium below the folder of the worker, with `/` between its parts. */
  path: z.string().min(1).optional(),
});

/** Where the media of jobs come from. */
export interface JobMedia {
  /** The folder that `path` refers to; without one, jobs have to contain their media. */
  readonly folder: string | undefined;
  /** Maximum size of a medium. */
  readonly maxBytes: number;
}

/**
 * Reads the data of a job: the fields of `POST /caption` or `POST /vqa` and `task`. The medium is a path, or base64 as
 * in a request; a URL is an error.
 *
 * @throws FieldError, invalid_option, too_large, not_found
 */
export async function readJob(data: unknown, { folder, maxBytes }: JobMedia): Promise<AskRequest> {
  if (typeof data !== "object" || data === null || Array.isArray(data)) {
    throw new EpalmError("invalid_option", "job: expected an object with task and a medium");
  }
  const { task, path, ...fields } = parseFields(data, jobEnvelope);
  const file = path === undefined ? undefined : await readBelow(folder, path, maxBytes);
  const ask = (task === "vqa" ? readVqa : readCaption)(fields, maxBytes, file);
  if (ask.fields.stream) throw new FieldError("invalid_option", "stream", "a job returns its whole answer at once");
  if ("address" in ask.medium) {
    throw new FieldError("invalid_option", ask.medium.field, "expected base64 or a path, got a URL");
  }
  return ask;
}

/** Reads a file that a job names. Errors contain the path of the job only, not that of the folder. */
async function readBelow(folder: string | undefined, name: string, maxBytes: number): Promise<Medium> {
  if (folder === undefined) {
    throw new FieldError("invalid_option", "path", "the worker has no --media-folder; expected base64 in media");
  }
  const path = pathInside(folder, name);
  if (path === undefined) {
    throw new FieldError("invalid_option", "path", `expected a path below the media folder, got '${excerpt(name)}'`);
  }
  try {
    const file = statSync(path);
    if (!file.isFile() || !isReallyInside(folder, path)) {
      throw new FieldError("invalid_option", "path", `expected a file below the media folder, got '${excerpt(name)}'`);
    }
    if (file.size > maxBytes) {
      throw new FieldError("too_large", "path", `expected at most ${maxBytes} bytes, got ${file.size}`);
    }
    return { field: "media", path: "path", bytes: await readFile(path) };
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new FieldError("not_found", "path", `no readable file '${excerpt(name)}'`, { cause: error });
  }
}

/** The folder that contains the media of jobs. @throws invalid_option if it is not a folder */
export function expectFolder(folder: string): string {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return folder;
  throw unexpected("invalid_option", "--media-folder", "a folder", `'${folder}'`);
}
