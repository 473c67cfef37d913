import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { DockerfileParser } from "dockerfile-ast";
import { ValidationSeverity, validate } from "dockerfile-utils";
import { serverConfigSchema } from "../../src/server/config.js";
import { openApiDocument } from "../../src/server/http/openapi.js";

const text = readFileSync("Dockerfile", "utf8");
const dockerfile = DockerfileParser.parse(text);
const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const defaults = serverConfigSchema.parse({});

const labels = Object.fromEntries(
  dockerfile
    .getInstructions()
    .filter((instruction) => instruction.getKeyword() === "LABEL")
    .flatMap((instruction) => instruction.getArguments().map((argument) => argument.getValue().split("="))),
);

describe("Dockerfile", () => {
  it("passes the linter", () => {
    const strict = {
      deprecatedMaintainer: ValidationSeverity.ERROR,
      emptyContinuationLine: ValidationSeverity.ERROR,
    };
    assert.deepEqual(
      validate(text, strict).map(({ range, message }) => `${range.start.line + 1}: ${message}`),
      [],
    );
    assert.notDeepEqual(validate(text.replace("WORKDIR /app", "WORKDIRR /app")), []);
  });

  it("contains the version of the package and the default port of the service", () => {
    assert.equal(labels["org.opencontainers.image.version"]?.replaceAll('"', ""), version);
    assert.match(text, new RegExp(`EPALM_PORT \\|\\| ${defaults.port}\\}/`));
    assert.match(text, new RegExp(`^EXPOSE ${defaults.port}$`, "m"));
  });

  it("uses an existing path for the health check", () => {
    const [healthcheck] = dockerfile.getHEALTHCHECKs();
    const [, path] = /\}(\/\w+)`/.exec(healthcheck?.getArgumentsContent() ?? "") ?? [];
    assert.ok(path !== undefined && path in Object(openApiDocument("0", false).paths), path);
  });
});
