import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { readServerSettings, serverConfigSchema } from "../../src/server/config.js";
import { openApiDocument } from "../../src/server/http/openapi.js";
import { Metrics } from "../../src/server/metrics.js";
import { type Manifest, unknownKeys, validateValues } from "./kubernetes-schema.js";

const FOLDER = join("deploy", "kubernetes");
const BASE = join(FOLDER, "base");
const CONFIG = join(BASE, "serve.yaml");

const read = (path: string) => parse(readFileSync(path, "utf8"));
const kustomization = read(join(BASE, "kustomization.yaml"));
const manifests: Manifest[] = kustomization.resources.map((name: string) => read(join(BASE, name)));
const settings = serverConfigSchema.parse(readServerSettings(CONFIG));

function only(kind: string): Manifest {
  const [found, ...others] = manifests.filter((manifest) => manifest.kind === kind);
  assert.ok(found && others.length === 0, `one ${kind}`);
  return found;
}

const deployment = only("Deployment");
const pod = deployment.spec.template.spec;
const [container] = pod.containers;
const paths = Object.keys(Object(openApiDocument("0", false).paths));

const kubectl = (...args: string[]) =>
  spawnSync("kubectl", args, { env: { ...process.env, KUBECONFIG: "/dev/null" }, encoding: "utf8" });

/** Why `kubectl kustomize` cannot be used, or false. Older versions do not support these kustomizations. */
function lacksKustomize(): string | false {
  const { error, stdout } = kubectl("version", "--client", "--output=json");
  const version = error ? "none" : String(JSON.parse(stdout).clientVersion.gitVersion);
  const [, major = 0, minor = 0] = /^v(\d+)\.(\d+)/.exec(version) ?? [];
  if (Number(major) > 1 || Number(minor) >= 21) return false;
  return `expected kubectl 1.21 or later, got ${version}; nothing else here runs kustomize`;
}

/** The output of `kubectl kustomize` for a folder. Needs no cluster. */
function rendered(folder: string): Manifest[] {
  const { status, stdout, stderr } = kubectl("kustomize", join(FOLDER, folder));
  assert.equal(status, 0, stderr);
  return parseAllDocuments(stdout).map((document) => document.toJS());
}

function checkSchemas(all: readonly Manifest[]): void {
  for (const manifest of all) validateValues(manifest);
  assert.deepEqual(unknownKeys(all), []);
}

describe("Kubernetes manifests", () => {
  it("match the schemas of Kubernetes and have no unknown keys", () => checkSchemas(manifests));

  it("are rejected with a value of the wrong type, a missing value or an unknown key", () => {
    const broken = (spec: object): Manifest => ({ ...deployment, spec: { ...deployment.spec, ...spec } });
    assert.throws(() => validateValues(broken({ minReadySeconds: "soon" })), /minReadySeconds/);
    assert.throws(() => validateValues(broken({ selector: undefined })), /selector/);
    const [message, ...others] = unknownKeys([broken({ replicaz: 3 })]);
    assert.match(message ?? "", /replicaz/);
    assert.deepEqual(others, []);
  });

  const skip = lacksKustomize();
  for (const folder of readdirSync(FOLDER)) {
    it(`${folder} is rendered by kustomize`, { skip }, () => {
      const all = rendered(folder);
      assert.deepEqual(all.map(({ kind }) => kind).sort(), [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Service",
      ]);
      checkSchemas(all);
      const made = all.find(({ kind }) => kind === "Deployment");
      const config = all.find(({ kind }) => kind === "ConfigMap");
      assert.ok(made && config);
      const { volumes, containers } = made.spec.template.spec;
      const named = volumes.find(({ name }: Manifest) => name === "config");
      assert.equal(named.configMap.name, config.metadata.name);
      assert.equal(containers[0].image, "epalm:0.2.0");
      const names = (list: readonly Manifest[]) => list.map(({ name }) => name).sort();
      assert.deepEqual(names(containers[0].volumeMounts), names(volumes));
    });
  }

  it("select the pods of the Deployment", () => {
    const { labels } = deployment.spec.template.metadata;
    const selectors = [
      deployment.spec.selector.matchLabels,
      only("Service").spec.selector,
      only("PodDisruptionBudget").spec.selector.matchLabels,
      ...pod.topologySpreadConstraints.map((spread: Manifest) => spread.labelSelector.matchLabels),
    ];
    for (const selector of selectors) assert.deepEqual(selector, labels);
    const { apiVersion, kind, name } = only("HorizontalPodAutoscaler").spec.scaleTargetRef;
    assert.deepEqual([apiVersion, kind, name], [deployment.apiVersion, deployment.kind, deployment.metadata.name]);
  });

  it("use the port of the config everywhere", () => {
    assert.deepEqual(container.ports, [{ name: "http", containerPort: settings.port }]);
    assert.equal(settings.host, "0.0.0.0");
    assert.equal(only("Service").spec.ports[0].targetPort, "http");
    for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
      assert.equal(container[probe].httpGet.port, "http");
    }
    assert.equal(deployment.spec.template.metadata.annotations["prometheus.io/port"], String(settings.port));
  });

  it("use existing paths for probes and metrics", () => {
    const asked = ["startupProbe", "readinessProbe", "livenessProbe"].map((name) => container[name].httpGet.path);
    assert.deepEqual(asked, ["/readyz", "/readyz", "/healthz"]);
    for (const path of [...asked, deployment.spec.template.metadata.annotations["prometheus.io/path"]]) {
      assert.ok(paths.includes(path), path);
    }
  });

  it("mount the config file at the path in the command", () => {
    const [generated] = kustomization.configMapGenerator;
    const [volume] = pod.volumes.filter(({ configMap }: Manifest) => configMap?.name === generated.name);
    const [mount] = container.volumeMounts.filter(({ name }: Manifest) => name === volume?.name);
    assert.deepEqual(container.args, ["serve", "--config", `${mount?.mountPath}/${generated.files[0]}`]);
  });

  it("allow more time to stop than the grace time of the service", () => {
    const [sleep, pause] = container.lifecycle.preStop.exec.command;
    assert.equal(sleep, "sleep");
    assert.ok(pod.terminationGracePeriodSeconds >= Number(pause) + settings.graceSeconds + 5);
  });

  it("scale on a metric that the service exports", () => {
    const patch = read(join(FOLDER, "queue-scaling", "queue-metric.yaml"));
    const { registry } = new Metrics(Object(undefined), Object(undefined));
    const names = registry.getMetricsAsArray().map(({ name }) => name);
    assert.ok(names.includes(patch.spec.metrics[0].pods.metric.name));
  });

  it("restrict the privileges of the pod", () => {
    assert.equal(pod.securityContext.runAsNonRoot, true);
    assert.equal(container.securityContext.readOnlyRootFilesystem, true);
    assert.equal(container.securityContext.allowPrivilegeEscalation, false);
    assert.deepEqual(container.securityContext.capabilities, { drop: ["ALL"] });
    assert.ok(container.resources.limits.memory && container.resources.limits.cpu);
  });
});
