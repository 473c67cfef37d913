import type { FastifyInstance } from "fastify";
import { EpalmError } from "../../core/errors.js";
import type { Keys } from "../keys.js";
import type { Service } from "../service.js";

/** `GET /healthz`, `/readyz`, `/metrics`: for those who run the service. */
export function statusRoutes(app: FastifyInstance, service: Service, keys: Keys): void {
  const { admission, config, metrics, models } = service;
  app.get("/healthz", { logLevel: "warn" }, () => ({ status: "alive" }));
  app.get("/readyz", { logLevel: "warn" }, () => {
    const { loaded } = models;
    if (admission.isFull) throw new EpalmError("overloaded", "takes no requests: full, or ending");
    return { status: "ready", models: Array.from(loaded.keys()) };
  });
  const guard = config.openMetrics ? {} : { onRequest: keys.check };
  app.get("/metrics", { logLevel: "warn", ...guard }, async (_request, reply) => {
    return reply.type(metrics.contentType).send(await metrics.text());
  });
}
