import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parseAllDocuments } from "yaml";
import { checkSchemas, type Manifest } from "../../deploy/kubernetes-schema.js";

const FOLDER = join("deploy", "kubernetes");

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

describe("Kubernetes manifests", () => {
  const skip = lacksKustomize();
  const folders = readdirSync(FOLDER, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const { name: folder } of folders) {
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
      assert.equal(containers[0].image, folder === "gpu" ? "epalm:0.2.0-gpu" : "epalm:0.2.0");
      const names = (list: readonly Manifest[]) => list.map(({ name }) => name).sort();
      assert.deepEqual(names(containers[0].volumeMounts), names(volumes));
    });
  }
});
