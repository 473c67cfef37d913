import { z } from "zod";
import { EpalmError } from "../core/errors.js";
import type { HubClient } from "./client.js";
import type { HubId } from "./id.js";

/** Pages hold up to a thousand files; repositories of models have some dozens. */
const MAX_PAGES = 20;

/** Git's name of a commit; part of a path in the cache, so nothing else is taken for one. */
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

/** A file of a repository; `digest` is of its content, or of git's blob of it where it is not in LFS. */
export const hubFileSchema = z.strictObject({
  path: z.string(),
  /** In bytes. */
  size: z.int().nonnegative(),
  digest: z.strictObject({ kind: z.enum(["sha256", "git-blob-sha1"]), hex: z.string() }),
});

export type HubFile = z.infer<typeof hubFileSchema>;

/** The commit that a revision (branch, tag or commit) stands for now. */
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
  return new EpalmError("download_failed", `${id.text}: the hub's answer holds ${what}`);
}
