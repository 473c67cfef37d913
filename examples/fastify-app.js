// Serves captions from a route of a fastify app: node fastify-app.js
// PORT is the port to listen on (default 3000). `epalm serve` is a complete service with limits, keys and metrics; this
// program shows how to use a model inside an app that exists already.
import { BUNDLED_MODEL, EpalmError, load } from "epalm";
import fastify from "fastify";

const MAX_IMAGE_BYTES = 16 * 1024 * 1024;

const app = fastify({ bodyLimit: MAX_IMAGE_BYTES });
const model = await load(BUNDLED_MODEL);
app.addHook("onClose", () => model.close());

app.addContentTypeParser(/^image\//, { parseAs: "buffer" }, (_request, body, done) => done(null, body));

app.post("/captions", async (request, reply) => {
  if (!(request.body instanceof Uint8Array)) {
    return reply.code(415).send({ error: "expected an image as the body" });
  }
  // A client that disconnects stops the work for its request.
  const controller = new AbortController();
  reply.raw.once("close", () => controller.abort());
  const { text, timings } = await model.caption(request.body, { modality: "image", signal: controller.signal });
  return { caption: text, milliseconds: Math.round(timings.media + timings.encoder + timings.decoder) };
});

// Errors of epalm have a code, an HTTP status and a message for the client.
app.setErrorHandler((error, _request, reply) => {
  if (!(error instanceof EpalmError)) return reply.send(error);
  return reply.code(error.status).send({ code: error.code, error: error.message });
});

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => app.close());
console.log(`listening on ${await app.listen({ port: Number(process.env.PORT ?? 3000) })}`);
