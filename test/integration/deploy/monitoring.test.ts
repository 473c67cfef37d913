import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { parse } from "yaml";
import { form, postForm, startServer } from "../../support/running-server.js";
import { buildTinyModel, picture, temporaryFolder } from "../../support/tiny-model.js";

const ALERTS = join("deploy", "prometheus-alerts.yml");
const DASHBOARD = join("deploy", "grafana-dashboard.json");

const promtool = (args: readonly string[], input?: string) => spawnSync("promtool", args, { input, encoding: "utf8" });

const skip = promtool(["--version"]).error ? "no promtool: install the package prometheus" : false;

describe("metrics, dashboard and alert rules", () => {
  let metrics = "";
  before(async () => {
    const { url } = await startServer({ models: { tiny: await buildTinyModel() }, logLevel: "silent" });
    assert.equal((await postForm(`${url}/caption`, form(await picture()))).status, 200);
    metrics = await (await fetch(`${url}/metrics`)).text();
  });

  it("promtool check metrics finds nothing", { skip }, () => {
    const { status, stdout, stderr } = promtool(["check", "metrics"], metrics);
    assert.deepEqual([status, stdout + stderr], [0, ""]);
  });

  it("promtool check rules and check config find nothing", { skip }, () => {
    for (const args of [
      ["check", "rules", ALERTS],
      ["check", "config", join("deploy", "prometheus.yml")],
    ]) {
      const { status, stdout, stderr } = promtool(args);
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /SUCCESS/);
    }
  });

  it("promtool parses every query of the dashboard", { skip }, () => {
    const rules = dashboardQueries().map((expr, index) => ({ record: `x:y${index}`, expr: withoutVariables(expr) }));
    const file = join(temporaryFolder(), "queries.yml");
    // JSON is YAML, too.
    writeFileSync(file, JSON.stringify({ groups: [{ name: "x", rules }] }));
    const { status, stdout, stderr } = promtool(["check", "rules", file]);
    assert.equal(status, 0, stdout + stderr);
  });

  it("the dashboard and the alert rules use only metrics that the service has", () => {
    const served = new Set(
      [...metrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name = "", type]) => [
        name,
        ...(type === "histogram" ? ["bucket", "count", "sum"].map((part) => `${name}_${part}`) : []),
      ]),
    );
    const { groups } = parse(readFileSync(ALERTS, "utf8")) as { groups: { rules: { expr: string }[] }[] };
    const queries = [...dashboardQueries(), ...groups.flatMap(({ rules }) => rules.map(({ expr }) => expr))];
    const used = queries.flatMap((query) => query.match(/\b(epalm|process|nodejs)_\w+/g) ?? []);
    assert.ok(used.length > 15);
    for (const name of used) assert.ok(served.has(name), name);
  });
});

function dashboardQueries(): string[] {
  const { panels } = JSON.parse(readFileSync(DASHBOARD, "utf8")) as { panels: { targets: { expr: string }[] }[] };
  return panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
}

/** Replaces the variables of Grafana, which it fills in before it sends a query. */
function withoutVariables(expr: string): string {
  return expr.replaceAll("$__rate_interval", "5m").replaceAll("$job", ".*");
}
