import type { FastifyInstance, FastifyReply } from "fastify";

/** Headers that prevent browsers from executing responses, which are data. */
export const dataHeaders = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
} as const;

/** Sets the headers of all responses. Pages set their own policy. */
export function securityHeaders(app: FastifyInstance): void {
  app.addHook("onSend", async (_request, reply) => {
    setSecurityHeaders(reply);
  });
}

/** Sets the headers that the response does not have yet. */
export function setSecurityHeaders(reply: FastifyReply): void {
  for (const [name, value] of Object.entries(dataHeaders)) {
    if (!reply.hasHeader(name)) reply.header(name, value);
  }
}
