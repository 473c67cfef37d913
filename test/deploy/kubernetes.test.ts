import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parse } from "yaml";
import { deviceChoices } from "../../src/core/device.js";
import { readServerSettings, serverConfigSchema, temporaryBytes } from "../../src/server/config.js";
import { openApiDocument } from "../../src/server/http/openapi.js";
import { Metrics } from "../../src/server/metrics.js";
import { checkSchemas, type Manifest, unknownKeys, validateValues } from "./kubernetes-schema.js";

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

  it("have room for all temporary files of the service, and for two videos of permitted size", () => {
    const { emptyDir } = pod.volumes.find(({ name }: Manifest) => name === "tmp");
    const [, mebibytes] = /^(\d+)Mi$/.exec(emptyDir.sizeLimit) ?? [];
    assert.ok(Number(mebibytes) * 1024 * 1024 > temporaryBytes(settings));
    assert.ok(temporaryBytes(settings) >= 2 * settings.limits.mediaBytes);
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
    const { registry } = new Metrics(Object(undefined), Object(undefined), Object(undefined));
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

  it("reserve a GPU for each pod, on top of the other limits", () => {
    const patch = read(join(FOLDER, "gpu", "gpu.yaml"));
    const [patched] = patch.spec.template.spec.containers;
    assert.deepEqual([patch.metadata.name, patched.name], [deployment.metadata.name, container.name]);
    assert.deepEqual(patched.resources.limits, { ...container.resources.limits, "nvidia.com/gpu": "1" });
    assert.ok(deviceChoices.includes(patched.env[0].value));
    assert.deepEqual(read(join(FOLDER, "gpu", "kustomization.yaml")).images[0].newTag, "0.2.0-gpu");
  });
});
