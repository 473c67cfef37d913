import type { FastifyInstance } from "fastify";

/** Prevents browsers from executing responses, which are data. Pages set their own policy. */
export function securityHeaders(app: FastifyInstance): void {
  app.addHook("onSend", async (_request, reply) => {
    reply.header("x-content-type-options", "nosniff");
    reply.header("referrer-policy", "no-referrer");
    if (reply.hasHeader("content-security-policy")) return;
    reply.header("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
  });
}
