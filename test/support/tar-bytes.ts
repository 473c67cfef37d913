import { pack } from "tar-stream";

/** A tar file with the given members. */
export async function tarBytes(
  members: readonly { readonly name: string; readonly bytes: string | Uint8Array }[],
): Promise<Buffer> {
  const tar = pack();
  for (const { name, bytes } of members) tar.entry({ name }, Buffer.from(bytes));
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar) if (chunk instanceof Uint8Array) chunks.push(chunk);
  return Buffer.concat(chunks);
}
