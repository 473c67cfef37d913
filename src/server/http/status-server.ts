import type { FastifyInstance } from "fastify";
import { Keys } from "../keys.js";
import type { Service } from "../service.js";
import { bareServer } from "./create-server.js";
import { errorAnswers, expectHost } from "./errors-plugin.js";
import { rateLimits } from "./rate-limits.js";
import { securityHeaders } from "./security-headers.js";
import { statusRoutes } from "./status-routes.js";

/**
 * A server of `/healthz`, `/readyz` and `/metrics` alone, for processes that answer no requests over HTTP. It is not
 * listening yet.
 *
 * @param expectReady throws while the process is not ready for a reason other than its models
 */
export async function createStatusServer(service: Service, expectReady: () => void): Promise<FastifyInstance> {
  const { admission, config } = service;
  const app = bareServer({ config });
  app.decorateRequest("keyName", undefined);
  securityHeaders(app);
  errorAnswers(app, admission);
  app.addHook("onRequest", async (request) => expectHost(request));
  const limits = await rateLimits(app, config.rateLimit, 1);
  const keys = new Keys(config.keys, limits.wrongKeys);
  statusRoutes(app, service, config.openMetrics ? [limits.reads] : [keys.check, limits.reads], expectReady);
  return app;
}
