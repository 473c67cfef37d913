// Writes docs/http.md from the service's OpenAPI document: npm run docs:http
import { writeFileSync } from "node:fs";
import { httpReference } from "../dist/src/server/http/http-reference.js";

writeFileSync("docs/http.md", httpReference());
