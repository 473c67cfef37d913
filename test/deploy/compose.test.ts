import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { parse } from "yaml";
import { deviceChoices } from "../../src/core/device.js";
import { readEnvironment } from "../../src/core/environment.js";
import { serverConfigSchema, temporaryBytes } from "../../src/server/config.js";
import { openApiDocument } from "../../src/server/http/openapi.js";

const { services, volumes } = parse(readFileSync("compose.yaml", "utf8"));
const prometheus = parse(readFileSync("deploy/prometheus.yml", "utf8"));
const defaults = serverConfigSchema.parse({});

describe("compose.yaml", () => {
  it("publishes the port that the service listens on", () => {
    assert.deepEqual(services.epalm.ports, [`${defaults.port}:${defaults.port}`]);
  });

  it("sets environment variables that the service reads", () => {
    const unknown = Object.keys(services.epalm.environment).filter((name) => {
      const { server, threads } = readEnvironment({ [name]: "told" });
      return ![threads, ...Object.values(server)].includes("told");
    });
    assert.deepEqual(unknown, []);
  });

  it("allows more time to stop than the grace time of the service", () => {
    const [, seconds] = /^(\d+)s$/.exec(services.epalm.stop_grace_period) ?? [];
    assert.ok(Number(seconds) >= defaults.graceSeconds + 5);
  });

  it("has room for all temporary files of the service, and for two videos of permitted size", () => {
    const [, megabytes] = /size=(\d+)m/.exec(services.epalm.tmpfs[0]) ?? [];
    const bytes = Number(megabytes) * 1024 * 1024;
    assert.ok(bytes > temporaryBytes(defaults) && temporaryBytes(defaults) >= 2 * defaults.limits.mediaBytes);
  });

  it("mounts only files and volumes that exist", () => {
    for (const volume of services.prometheus.volumes) {
      const [from = ""] = String(volume).split(":");
      assert.ok(from.startsWith("./") ? existsSync(from) : from in volumes, from);
    }
  });

  for (const name of Object.keys(services)) {
    it(`restricts the privileges of ${name}`, () => {
      const { read_only, cap_drop, security_opt, mem_limit } = services[name];
      assert.equal(read_only, true);
      assert.deepEqual(cap_drop, ["ALL"]);
      assert.deepEqual(security_opt, ["no-new-privileges:true"]);
      assert.ok(mem_limit);
    });
  }
});

describe("compose.gpu.yaml", () => {
  const gpu = parse(readFileSync("compose.gpu.yaml", "utf8")).services.epalm;

  it("builds an existing recipe on the image of compose.yaml, and reserves a GPU", () => {
    const recipe = readFileSync(gpu.build.dockerfile, "utf8");
    assert.ok(recipe.includes(`ARG IMAGE=${services.epalm.image}\n`));
    assert.equal(gpu.image, `${services.epalm.image}-gpu`);
    assert.equal(gpu.gpus, "all");
  });

  it("chooses a device that exists", () => {
    assert.ok(deviceChoices.includes(gpu.environment.EPALM_DEVICE));
  });
});

describe("deploy/prometheus.yml", () => {
  it("scrapes the service at its port and at an existing path", () => {
    const [job] = prometheus.scrape_configs;
    assert.deepEqual(job.static_configs, [{ targets: [`epalm:${defaults.port}`] }]);
    assert.ok("epalm" in services);
    assert.ok(job.metrics_path in Object(openApiDocument("0", false).paths));
  });
});
