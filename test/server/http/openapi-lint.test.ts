import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openApiDocument } from "../../../src/server/http/openapi.js";
import { temporaryFolder } from "../../support/tiny-model.js";

const folder = temporaryFolder();

for (const needsKey of [true, false]) {
  test(`redocly lint accepts the OpenAPI document ${needsKey ? "with" : "without"} keys without a warning`, () => {
    const file = join(folder, `openapi-${needsKey}.json`);
    writeFileSync(file, JSON.stringify(openApiDocument("1.0.0", needsKey)));
    const { status, stdout } = spawnSync("node_modules/.bin/redocly", ["lint", file, "--format=json"], {
      encoding: "utf8",
      env: { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" },
    });
    const { totals, problems } = JSON.parse(stdout) as { totals: Record<string, number>; problems: unknown[] };
    assert.deepEqual([status, totals.errors, totals.warnings], [0, 0, 0], JSON.stringify(problems));
  });
}
