// Writes models/manifest.schema.json from the definition of the manifest. Usage: npm run schema
import { writeFileSync } from "node:fs";
import { manifestJsonSchema } from "../dist/src/index.js";

writeFileSync("models/manifest.schema.json", `${JSON.stringify(manifestJsonSchema(), undefined, 2)}\n`);
