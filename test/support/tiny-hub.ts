import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after } from "node:test";
import { HubServer, type ServedFile } from "./hub-server.js";

/** Tiny models under the ids of public ones. */
const models: Readonly<Record<string, string>> = {
  "google/vit-base-patch16-224": "test/fixtures/goldens/opt-6states-mlp10/encoder",
  "facebook/opt-125m": "test/fixtures/goldens/opt-6states-mlp10/decoder",
  "timm/vit_base_patch16_224.augreg_in21k_ft_in1k": "test/fixtures/goldens/opt-6states-mlp10/encoder",
  "facebook/opt-2.7b": "test/fixtures/goldens/opt-6states-mlp10/decoder",
  "openai/clip-vit-base-patch16": "test/fixtures/backbones/clip",
  "Qwen/Qwen3-0.6B": "test/fixtures/goldens/llama-shared-1token/decoder",
  "facebook/dino-vitb16": "test/fixtures/goldens/llama-shared-1token/encoder",
  "HuggingFaceTB/SmolLM2-135M": "test/fixtures/goldens/llama-shared-1token/decoder",
  "HuggingFaceTB/SmolVLM-256M-Instruct": "test/fixtures/vlms/smolvlm",
  "llava-hf/llava-interleave-qwen-0.5b-hf": "test/fixtures/vlms/llava-siglip-qwen2",
  "lusxvr/nanoVLM-222M": "test/fixtures/vlms/nanovlm",
  "HuggingFaceTB/cosmo2-tokenizer": "test/fixtures/vlms/nanovlm/tokenizer",
};

/** Starts a hub with all tiny models; returns its address. */
export async function startTinyHub(): Promise<string> {
  const hubs = await Promise.all(
    Object.entries(models).map(async ([id, folder]) => {
      const { endpoint } = await new HubServer(id, filesOf(folder)).start();
      return { id, endpoint };
    }),
  );
  const server = createServer(async ({ url = "/" }, response) => {
    const hub = hubs.find(({ id }) => url.includes(`/${id}/`));
    const answer = hub ? await fetch(hub.endpoint + url) : new Response(undefined, { status: 404 });
    response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function filesOf(folder: string): Record<string, ServedFile> {
  const names = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [entry.name] : []));
  return Object.fromEntries(names.map((name) => [name, { content: readFileSync(join(folder, name)) }]));
}
