import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, describe, it } from "node:test";
import { parse } from "yaml";
import { checkSchemas, type Manifest, unknownKeys, validateValues } from "./kubernetes-schema.js";

const job: Manifest = parse(readFileSync(join("deploy", "kubernetes", "caption-job.yaml"), "utf8"));
const deployment: Manifest = parse(readFileSync(join("deploy", "kubernetes", "base", "deployment.yaml"), "utf8"));
const kustomization = parse(readFileSync(join("deploy", "kubernetes", "base", "kustomization.yaml"), "utf8"));
const pod = job.spec.template.spec;
const [container] = pod.containers;

const folder = mkdtempSync(join(tmpdir(), "epalm-job-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The command line that the container of a pod runs. */
function commandOf(index: number): string[] {
  // A program in place of Node that prints its arguments.
  mkdirSync(join(folder, "bin"), { recursive: true });
  writeFileSync(join(folder, "bin", "node"), '#!/bin/sh\nprintf "%s\\n" "$@"\n', { mode: 0o755 });
  const [shell = "", ...flags]: string[] = container.command;
  const script: string = container.args[0].replaceAll("/data/", `${folder}/data/`);
  const variables = container.env.flatMap(({ name, value }: Manifest) => (value === undefined ? [] : [[name, value]]));
  const { status, stdout, stderr } = spawnSync(shell, [...flags, script], {
    env: {
      ...Object.fromEntries(variables),
      PATH: [join(folder, "bin"), process.env.PATH].join(delimiter),
      JOB_COMPLETION_INDEX: String(index),
    },
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return stdout.replaceAll(folder, "").trimEnd().split("\n");
}

describe("the job that captions a folder", () => {
  it("matches the schemas of Kubernetes and has no unknown keys", () => checkSchemas([job]));

  it("is rejected with a value of the wrong type or an unknown key", () => {
    const broken = (spec: object): Manifest => ({ ...job, spec: { ...job.spec, ...spec } });
    assert.throws(() => validateValues(broken({ backoffLimitPerIndex: "three" })), /backoffLimitPerIndex/);
    assert.match(unknownKeys([broken({ backoffLimitPerIndexes: 3 })])[0] ?? "", /backoffLimitPerIndexes/);
  });

  it("gives each pod another shard and another file", () => {
    const count: number = job.spec.completions;
    for (let index = 0; index < count; index++) {
      const part = `/data/captions/part-${index + 1}.jsonl`;
      assert.deepEqual(commandOf(index).slice(1), [
        ...["caption", "/data/photos", "--shard", `${index + 1}/${count}`],
        ...["--output", part],
      ]);
    }
  });

  it("runs the program of the image, and counts attempts per index", () => {
    const dockerfile = readFileSync("Dockerfile", "utf8");
    const [, entry = ""] = /^ENTRYPOINT \["node", "(.*)"\]$/m.exec(dockerfile) ?? [];
    assert.equal(commandOf(0)[0], entry);
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
