// Writes docs/http.md from the service's OpenAPI document, and the table of options in docs/sdk.md. Usage: npm run
// docs:http
import { readFileSync, writeFileSync } from "node:fs";
import { httpReference, optionReference } from "../dist/src/server/http/http-reference.js";

writeFileSync("docs/http.md", httpReference());
const sdk = readFileSync("docs/sdk.md", "utf8");
writeFileSync("docs/sdk.md", sdk.replace(/(?<=by `npm run docs:http`\. -->\n\n).*?(?=\n\n)/s, optionReference()));
