import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { HubClient } from "./client.js";
import type { HubId } from "./id.js";

/** A page lists up to a thousand files; repositories of models contain dozens. */
const MAX_PAGES = 20;

/** The hash of a Git commit. It is part of a path in the cache, so other strings are rejected. */
export const commitSchema = z.string().regex(/^[0-9a-f]{40}$/);

const revisionSchema = z.object({ sha: commitSchema });

const treeSchema = z.array(
  z.object({
    type: z.string(),
    path: z.string(),
    oid: z.string(),
    size: z.int().nonnegative(),
    lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() }).optional(),
  }),
);

/** A file of a repository. `digest` is that of its content for files in LFS, otherwise that of the Git blob. */
export const hubFileSchema = z.strictObject({
  path: z.string(),
  /** In bytes. */
  size: z.int().nonnegative(),
  digest: z.strictObject({ kind: z.enum(["sha256", "git-blob-sha1"]), hex: z.string() }),
});

export type HubFile = z.infer<typeof hubFileSchema>;

/** The commit to which a revision (branch, tag or commit) currently refers. */
export async function fetchCommit(client: HubClient, id: HubId): Promise<string> {
  const path = `api/models/${id.name}/revision/${encodeURIComponent(id.revision)}`;
  const { body } = await client.json(client.url(path), id.text);
  const revision = revisionSchema.safeParse(body);
  if (!revision.success) throw unexpected(id, "no commit");
  return revision.data.sha;
}

/** All files of a commit. */
export async function fetchListing(client: HubClient, id: HubId, commit: string): Promise<HubFile[]> {
  const files: HubFile[] = [];
  let url: URL | undefined = client.url(`api/models/${id.name}/tree/${commit}?recursive=true`);
  for (let page = 0; url && page < MAX_PAGES; page++) {
    const { body, next } = await client.json(url, id.text);
    const entries = treeSchema.safeParse(body);
    if (!entries.success) throw unexpected(id, "no list of files");
    files.push(...entries.data.filter(({ type }) => type === "file").map(toHubFile));
    url = next;
  }
  if (url) throw unexpected(id, `more than ${MAX_PAGES} pages of files`);
  return files;
}

function toHubFile({ path, oid, size, lfs }: z.infer<typeof treeSchema>[number]): HubFile {
  if (lfs) return { path, size: lfs.size, digest: { kind: "sha256", hex: lfs.oid } };
  return { path, size, digest: { kind: "git-blob-sha1", hex: oid } };
}

function unexpected(id: HubId, what: string): EpalmError {
  return new EpalmError("download_failed", `${id.text}: the hub's answer contains ${what}`);
}
