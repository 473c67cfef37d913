import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after } from "node:test";

/** Starts a server that should not be called; `visits` has the requested paths. Closed after the tests of the file. */
export async function countingServer(): Promise<{
  readonly address: string;
  readonly visits: string[];
}> {
  const visits: string[] = [];
  const server = createServer((request, response) => {
    visits.push(request.url ?? "");
    response.end();
  }).listen(0, "127.0.0.1");
  after(() => server.close());
  await once(server, "listening");
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, visits };
}
