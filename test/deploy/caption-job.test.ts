import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parse } from "yaml";
import { parseShard, shardOf } from "../../src/cli/bulk/shard.js";
import { checkSchemas, type Manifest, unknownKeys, validateValues } from "./kubernetes-schema.js";

const job: Manifest = parse(readFileSync(join("deploy", "kubernetes", "caption-job.yaml"), "utf8"));
const deployment: Manifest = parse(readFileSync(join("deploy", "kubernetes", "base", "deployment.yaml"), "utf8"));
const kustomization = parse(readFileSync(join("deploy", "kubernetes", "base", "kustomization.yaml"), "utf8"));
const pod = job.spec.template.spec;
const [container] = pod.containers;

describe("the job that captions a folder", () => {
  it("matches the schemas of Kubernetes and has no unknown keys", () => checkSchemas([job]));

  it("is rejected with a value of the wrong type or an unknown key", () => {
    const broken = (spec: object): Manifest => ({ ...job, spec: { ...job.spec, ...spec } });
    assert.throws(() => validateValues(broken({ backoffLimitPerIndex: "three" })), /backoffLimitPerIndex/);
    assert.match(unknownKeys([broken({ backoffLimitPerIndexes: 3 })])[0] ?? "", /backoffLimitPerIndexes/);
  });

  it("gives each pod another shard", () => {
    const { completions } = job.spec;
    const [command, , flag, shards] = container.args;
    assert.deepEqual([command, flag], ["caption", "--shard"]);
    for (let index = 0; index < completions; index++) {
      assert.deepEqual(shardOf(parseShard(shards), index), { index, of: completions });
    }
  });

  it("runs the program of the image, and counts attempts per index", () => {
    assert.equal(container.command, undefined);
    const [image] = kustomization.images;
    assert.equal(container.image, `${image.name}:${image.newTag}`);
    assert.equal(job.spec.completionMode, "Indexed");
    assert.ok(job.spec.backoffLimitPerIndex > 0);
    assert.equal(pod.restartPolicy, "Never");
  });

  it("has the same restrictions as the service", () => {
    const served = deployment.spec.template.spec;
    assert.deepEqual(pod.securityContext, served.securityContext);
    assert.deepEqual(container.securityContext, served.containers[0].securityContext);
    const names = (list: readonly Manifest[]) => list.map(({ name }) => name).sort();
    assert.deepEqual(names(container.volumeMounts), names(pod.volumes));
    for (const key of ["automountServiceAccountToken", "enableServiceLinks"]) assert.equal(pod[key], served[key]);
  });
});
