import type { FastifyInstance, onRequestAsyncHookHandler } from "fastify";
import { EpalmError } from "../../core/errors.js";
import type { Service } from "../service.js";

/**
 * `GET /healthz`, `/readyz` and `/metrics`, for operation and monitoring.
 *
 * @param guards hooks of `/metrics`
 * @param expectReady throws an error of status 503 while something beside the models is not ready
 */
export function statusRoutes(
  app: FastifyInstance,
  { admission, metrics, models, threads }: Service,
  guards: onRequestAsyncHookHandler[],
  expectReady: () => void = () => undefined,
): void {
  app.get("/healthz", { logLevel: "warn" }, () => ({ status: "alive" }));
  app.get("/readyz", { logLevel: "warn" }, () => {
    const { loaded } = models;
    if (admission.isFull)
      throw new EpalmError("overloaded", "no requests are accepted: the queue is full, or the service is stopping");
    const { unready } = threads;
    if (unready.length > 0) throw new EpalmError("unavailable", `being replaced: the thread ${unready.join(", ")}`);
    expectReady();
    return { status: "ready", models: Array.from(loaded.keys()) };
  });
  app.get("/metrics", { logLevel: "warn", onRequest: guards }, async (_request, reply) => {
    return reply.type(metrics.contentType).send(await metrics.text());
  });
}
