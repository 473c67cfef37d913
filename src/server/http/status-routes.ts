import type { FastifyInstance } from "fastify";
import { EpalmError } from "../../core/errors.js";
import type { Keys } from "../keys.js";
import type { Service } from "../service.js";

/** `GET /healthz`, `/readyz` and `/metrics`, for operation and monitoring. */
export function statusRoutes(app: FastifyInstance, service: Service, keys: Keys): void {
  const { admission, config, metrics, models, threads } = service;
  app.get("/healthz", { logLevel: "warn" }, () => ({ status: "alive" }));
  app.get("/readyz", { logLevel: "warn" }, () => {
    const { loaded } = models;
    if (admission.isFull)
      throw new EpalmError("overloaded", "no requests are accepted: the queue is full, or the service is stopping");
    const { unready } = threads;
    if (unready.length > 0) throw new EpalmError("unavailable", `being replaced: the thread ${unready.join(", ")}`);
    return { status: "ready", models: Array.from(loaded.keys()) };
  });
  const guard = config.openMetrics ? {} : { onRequest: keys.check };
  app.get("/metrics", { logLevel: "warn", ...guard }, async (_request, reply) => {
    return reply.type(metrics.contentType).send(await metrics.text());
  });
}
