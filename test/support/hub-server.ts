import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after } from "node:test";

/** A file of the hub; `lfs` files are served from another host, like the hub's CDN. */
export interface ServedFile {
  readonly content: Buffer;
  readonly lfs?: boolean;
  /** The digest in the listing, instead of the real one. */
  readonly claimedDigest?: string;
}

export interface SeenRequest {
  readonly path: string;
  readonly host: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Handles a request before the ordinary routes; returns whether it did. */
export type Interception = (request: SeenRequest, response: ServerResponse) => boolean;

/** The hub's download routes for one model on 127.0.0.1; the CDN is on another port. */
export class HubServer {
  readonly commit = "0123456789abcdef0123456789abcdef01234567";
  readonly seen: SeenRequest[] = [];
  endpoint = "";
  intercept: Interception = () => false;
  /** Whether the CDN supports range requests. */
  ranges = true;
  /** Number of files per page of the listing. */
  pageSize = 1000;
  #cdn = "";
  readonly #id: string;
  readonly #files: Map<string, ServedFile>;

  constructor(id: string, files: Readonly<Record<string, ServedFile>>) {
    this.#id = id;
    this.#files = new Map(Object.entries(files));
  }

  async start(): Promise<this> {
    this.endpoint = await listen((request, response) => this.#answer(request, response, this.#hub));
    this.#cdn = await listen((request, response) => this.#answer(request, response, this.#store));
    return this;
  }

  /** Paths of the requested files, without redirects to the CDN. */
  get downloads(): string[] {
    const prefix = `/${this.#id}/resolve/${this.commit}/`;
    return this.seen.filter(({ path }) => path.startsWith(prefix)).map(({ path }) => path.slice(prefix.length));
  }

  #answer(
    incoming: IncomingMessage,
    response: ServerResponse,
    route: (request: SeenRequest, response: ServerResponse) => void,
  ): void {
    const request: SeenRequest = {
      path: incoming.url ?? "",
      host: incoming.headers.host ?? "",
      range: incoming.headers.range,
      authorization: incoming.headers.authorization,
    };
    this.seen.push(request);
    if (!this.intercept(request, response)) route.call(this, request, response);
  }

  #hub(request: SeenRequest, response: ServerResponse): void {
    const url = new URL(request.path, this.endpoint);
    const resolve = `/${this.#id}/resolve/${this.commit}/`;
    if (url.pathname === `/api/models/${this.#id}/revision/main`) {
      sendJson(response, {
        sha: this.commit,
        siblings: [...this.#files.keys()].map((rfilename) => ({ rfilename })),
      });
    } else if (url.pathname === `/api/models/${this.#id}/tree/${this.commit}`) {
      this.#sendTree(url, response);
    } else if (url.pathname.startsWith(resolve)) {
      const name = decodeURIComponent(url.pathname.slice(resolve.length));
      const file = this.#files.get(name);
      if (file?.lfs) response.writeHead(302, { location: `${this.#cdn}/${name}?Signature=secret` }).end();
      else if (file) response.end(file.content);
      else response.writeHead(404).end();
    } else {
      response.writeHead(404).end();
    }
  }

  #sendTree(url: URL, response: ServerResponse): void {
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const entries = [...this.#files].map(([path, file]) => treeEntry(path, file));
    if (start + this.pageSize < entries.length) {
      url.searchParams.set("cursor", String(start + this.pageSize));
      response.setHeader("link", `<${url.href}>; rel="next"`);
    }
    sendJson(response, entries.slice(start, start + this.pageSize));
  }

  #store(request: SeenRequest, response: ServerResponse): void {
    const name = new URL(request.path, this.#cdn).pathname.slice(1);
    const content = this.#files.get(name)?.content ?? Buffer.alloc(0);
    const start = Number(/^bytes=(\d+)-$/.exec(request.range ?? "")?.[1] ?? 0);
    if (!this.ranges || start === 0) response.end(content);
    else if (start >= content.length) response.writeHead(416).end();
    else {
      const range = `bytes ${start}-${content.length - 1}/${content.length}`;
      response.writeHead(206, { "content-range": range }).end(content.subarray(start));
    }
  }
}

function treeEntry(path: string, { content, lfs, claimedDigest }: ServedFile) {
  const blob = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
  const sha256 = createHash("sha256").update(content).digest("hex");
  const entry = { type: "file", path, size: content.length };
  if (!lfs) return { ...entry, oid: claimedDigest ?? blob };
  return { ...entry, oid: "of the pointer", lfs: { oid: claimedDigest ?? sha256, size: content.length } };
}

function sendJson(response: ServerResponse, body: unknown): void {
  response.setHeader("content-type", "application/json").end(JSON.stringify(body));
}

async function listen(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
