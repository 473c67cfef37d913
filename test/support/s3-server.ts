import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after } from "node:test";

export interface StoredObject {
  readonly bytes: Buffer;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface S3Request {
  readonly method: string;
  readonly bucket: string;
  /** Empty for a listing. */
  readonly key: string;
}

/** What a request gets in place of its answer: an error, a length that is not that of the object, or half an answer. */
export type S3Failure = { readonly status: number; readonly code: string } | { readonly length: number } | "cut";

/** The part of S3 that epalm uses, with path-style addresses, on 127.0.0.1. */
export class S3Server {
  readonly objects = new Map<string, StoredObject>();
  readonly seen: S3Request[] = [];
  endpoint = "";
  /** Keys per page of a listing. */
  pageSize = 1000;
  fail: (request: S3Request) => S3Failure | undefined = () => undefined;
  /** Milliseconds before each answer. */
  delay = 0;
  /** The most objects that were read at the same time. */
  mostReads = 0;
  #reads = 0;
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  constructor(
    readonly bucket: string,
    private readonly accessKey: string,
  ) {
    after(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.endpoint = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  put(key: string, bytes: string | Uint8Array, metadata: StoredObject["metadata"] = {}): void {
    this.objects.set(key, { bytes: Buffer.from(bytes), metadata });
  }

  text(key: string): string | undefined {
    return this.objects.get(key)?.bytes.toString();
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? "", this.endpoint);
    const [bucket = "", ...key] = url.pathname.slice(1).split("/").map(decodeURIComponent);
    const request = { method: incoming.method ?? "", bucket, key: key.join("/") };
    const body = await bodyOf(incoming);
    this.seen.push(request);
    const isRead = request.method === "GET" && request.key !== "";
    if (isRead) this.mostReads = Math.max(this.mostReads, ++this.#reads);
    await new Promise((resolve) => setTimeout(resolve, this.delay));
    if (isRead) this.#reads--;
    const failure = this.fail(request);
    if (failure === "cut") cut(response, this.objects.get(request.key)?.bytes ?? Buffer.alloc(2));
    else if (failure && "length" in failure) response.writeHead(200, { "content-length": failure.length }).write("x");
    else if (failure) sendError(response, failure.status, failure.code);
    else if (!incoming.headers.authorization?.includes(`Credential=${this.accessKey}/`)) {
      sendError(response, 403, "InvalidAccessKeyId");
    } else if (bucket !== this.bucket) sendError(response, 404, "NoSuchBucket");
    else if (request.key === "") this.#list(url, response);
    else if (request.method === "PUT") this.#put(request.key, body, incoming, response);
    else if (request.method === "DELETE") {
      this.objects.delete(request.key);
      response.writeHead(204).end();
    } else this.#get(request, incoming.headers.range, response);
  }

  #list({ searchParams }: URL, response: ServerResponse): void {
    const prefix = searchParams.get("prefix") ?? "";
    const start = searchParams.get("continuation-token") ?? "";
    const keys = Array.from(this.objects.keys())
      .filter((key) => key.startsWith(prefix) && key > start)
      .sort();
    const page = keys.slice(0, this.pageSize);
    const next = keys.length > page.length ? page.at(-1) : undefined;
    const contents = page.map((key) => `<Contents><Key>${escapeXml(key)}</Key><Size>1</Size></Contents>`).join("");
    const token = next === undefined ? "" : `<NextContinuationToken>${escapeXml(next)}</NextContinuationToken>`;
    const isTruncated = `<IsTruncated>${next !== undefined}</IsTruncated>`;
    sendXml(response, 200, `<ListBucketResult>${contents}${isTruncated}${token}</ListBucketResult>`);
  }

  #put(key: string, body: Buffer, { headers }: IncomingMessage, response: ServerResponse): void {
    const isChunked = headers["content-encoding"]?.includes("aws-chunked") ?? false;
    const metadata = Object.entries(headers).flatMap(([name, value]) =>
      name.startsWith("x-amz-meta-") ? [[name.slice("x-amz-meta-".length), String(value)]] : [],
    );
    const bytes = isChunked ? unchunked(body) : body;
    const expected = headers["x-amz-decoded-content-length"] ?? headers["content-length"];
    if (bytes.length !== Number(expected)) sendError(response, 400, "IncompleteBody");
    else {
      this.put(key, bytes, Object.fromEntries(metadata));
      response.writeHead(200, { etag: etagOf(bytes) }).end();
    }
  }

  #get({ method, key }: S3Request, range: string | undefined, response: ServerResponse): void {
    const object = this.objects.get(key);
    if (!object) {
      sendError(response, 404, "NoSuchKey");
      return;
    }
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
    const bytes = first === undefined ? object.bytes : object.bytes.subarray(Number(first), Number(last) + 1);
    const metadata = Object.entries(object.metadata).map(([name, value]) => [`x-amz-meta-${name}`, value]);
    const headers = { "content-length": bytes.length, etag: etagOf(object.bytes), ...Object.fromEntries(metadata) };
    response.writeHead(first === undefined ? 200 : 206, headers).end(method === "HEAD" ? undefined : bytes);
  }
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The bytes of a body in the encoding `aws-chunked`: lines with a length in hexadecimal, each before so many bytes. */
function unchunked(body: Buffer): Buffer {
  const chunks: Uint8Array[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const length = Number.parseInt(body.toString("latin1", at, end), 16);
    if (!(length > 0)) return Buffer.concat(chunks);
    chunks.push(body.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}

/** Sends the first half, and ends the connection. */
function cut(response: ServerResponse, bytes: Buffer): void {
  response.writeHead(200, { "content-length": bytes.length });
  response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
}

function sendError(response: ServerResponse, status: number, code: string): void {
  sendXml(response, status, `<Error><Code>${code}</Code><Message>a message about ${code}</Message></Error>`);
}

function sendXml(response: ServerResponse, status: number, xml: string): void {
  response.writeHead(status, { "content-type": "application/xml" }).end(`<?xml version="1.0"?>${xml}`);
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function etagOf(bytes: Uint8Array): string {
  return `"${createHash("md5").update(bytes).digest("hex")}"`;
}
