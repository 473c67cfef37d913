import type { FastifyInstance } from "fastify";

/** Answers are data: a browser that is led to one runs nothing of it. Pages bring a policy of their own. */
export function securityHeaders(app: FastifyInstance): void {
  app.addHook("onSend", async (_request, reply) => {
    reply.header("x-content-type-options", "nosniff");
    reply.header("referrer-policy", "no-referrer");
    if (reply.hasHeader("content-security-policy")) return;
    reply.header("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
  });
}
