import swagger, { type StaticDocumentSpec } from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import type { FastifyInstance } from "fastify";
import { openApiDocument } from "./openapi.js";

/** Allows only content of this server, over http as well as https. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** `GET /openapi.json`, and `GET /docs`, which displays it without loading external content. */
export async function docsRoutes(app: FastifyInstance, version: string, needsKey: boolean): Promise<void> {
  const document = openApiDocument(version, needsKey);
  await app.register(swagger, {
    mode: "static",
    specification: { document: document as typeof document & StaticDocumentSpec["document"] },
  });
  await app.register(swaggerUi, {
    routePrefix: "/docs",
    staticCSP: true,
    transformStaticCSP: () => POLICY,
    // The default validator is an external service.
    uiConfig: { validatorUrl: null },
  });
  app.get("/openapi.json", () => document);
}
