import { createHash } from "node:crypto";
import { createReadStream, readdirSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import type { FastifyInstance, onRequestAsyncHookHandler } from "fastify";
import { EpalmError } from "../../core/errors.js";
import { readSampleNotes } from "../../model/sample-notes.js";
import type { SampleList } from "../../wire.js";
import type { Service } from "../service.js";

/** The files of the page are not compiled; the package contains them in `src/`. */
const FOLDER = new URL("../../../../src/server/page/", import.meta.url);

/** The only module that the page shares with the service; the compiled file is served. */
const OPTION_TABLE = new URL("../../generation/option-table.js", import.meta.url);

const INDEX = "index.html";

/** Only files with these extensions are served. */
const fileTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Allows only content of this server and the medium that the visitor chose (`blob:`). */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "media-src 'self' blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

/** Subfolder of a model folder that contains the samples. */
const SAMPLES = "samples";

/** Bounds the number of samples, because the page loads all of them. */
export const MAX_SAMPLES = 24;

/** In seconds. A reload of the page does not transfer the samples again, and a new sample appears soon. */
const SAMPLE_AGE = 300;

/** Excludes paths, hidden files and characters that have a meaning in headers or logs. */
const SAMPLE_NAME = /^[A-Za-z0-9][\w .-]{0,99}$/;

const sampleTypes: Readonly<Record<string, string>> = {
  ".avif": "image/avif",
  ".flac": "audio/flac",
  ".gif": "image/gif",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".mp3": "audio/mpeg",
  ".mp4": "video/mp4",
  ".ogg": "audio/ogg",
  ".png": "image/png",
  ".wav": "audio/wav",
  ".webm": "video/webm",
  ".webp": "image/webp",
};

/** The hooks of the list of samples and of their files. */
export interface SampleGuards {
  readonly lists: onRequestAsyncHookHandler[];
  readonly files: onRequestAsyncHookHandler[];
}

/** `GET /`, the page, and `GET /samples`, the media that it offers, which require a key if the service has keys. */
export function pageRoutes(app: FastifyInstance, { config }: Service, { lists, files }: SampleGuards): void {
  for (const name of readdirSync(FOLDER)) servePageFile(app, new URL(name, FOLDER));
  servePageFile(app, OPTION_TABLE);
  app.get("/samples", { onRequest: lists }, async (): Promise<SampleList> => {
    const samples = await Promise.all(Object.entries(config.models).map(([model, folder]) => samplesOf(model, folder)));
    return { samples: samples.flat() };
  });
  app.get<{ Params: { model: string; name: string } }>(
    "/samples/:model/:name",
    { onRequest: files },
    async ({ params }, reply) => {
      const folder = Object.hasOwn(config.models, params.model) ? config.models[params.model] : undefined;
      // The path is built from a name in the list, never from the string in the request.
      const names = folder === undefined ? [] : await sampleNames(folder);
      const name = names.find((known) => known === params.name);
      if (folder === undefined || name === undefined) throw new EpalmError("not_found", "no such sample");
      reply.header("cache-control", `private, max-age=${SAMPLE_AGE}`);
      return reply.type(typeOf(name)).send(createReadStream(join(folder, SAMPLES, name)));
    },
  );
}

/**
 * Serves one file of the page: `index.html` as `/`, all others under `page/`. The file is read once, at the start.
 *
 * Browsers revalidate the file with each use and get the bytes only if they changed, so that the version of the page
 * always matches that of the service.
 */
function servePageFile(app: FastifyInstance, file: URL): void {
  const name = basename(file.pathname);
  const type = fileTypes[extname(name)];
  if (type === undefined) return;
  const bytes = readFileSync(file);
  const etag = `"${createHash("sha256").update(bytes).digest("base64url")}"`;
  app.get(name === INDEX ? "/" : `/page/${name}`, { logLevel: "warn" }, async (request, reply) => {
    reply.header("content-security-policy", POLICY).header("cache-control", "no-cache").header("etag", etag);
    if (request.headers["if-none-match"] === etag) return reply.status(304).send();
    return reply.type(type).send(bytes);
  });
}

async function samplesOf(model: string, folder: string): Promise<SampleList["samples"]> {
  const names = await sampleNames(folder);
  const notes = readSampleNotes(join(folder, SAMPLES));
  return names.map((name) => {
    const note = Object.hasOwn(notes, name) ? notes[name] : undefined;
    return {
      model,
      name,
      type: typeOf(name),
      href: `samples/${encodeURIComponent(model)}/${encodeURIComponent(name)}`,
      ...(note ? { expected: note.expected, is_correct: note.isCorrect } : {}),
    };
  });
}

/** Excludes symbolic links, because they may point out of the folder. */
async function sampleNames(folder: string): Promise<string[]> {
  const entries = await readdir(join(folder, SAMPLES), { withFileTypes: true }).catch(() => []);
  return entries
    .filter(
      (entry) => entry.isFile() && SAMPLE_NAME.test(entry.name) && Object.hasOwn(sampleTypes, extensionOf(entry.name)),
    )
    .map(({ name }) => name)
    .sort()
    .slice(0, MAX_SAMPLES);
}

function typeOf(name: string): string {
  return sampleTypes[extensionOf(name)] ?? "application/octet-stream";
}

function extensionOf(name: string): string {
  return extname(name).toLowerCase();
}
