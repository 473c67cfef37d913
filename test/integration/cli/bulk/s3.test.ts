import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { before, beforeEach, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import sharp from "sharp";
import { localCopyOf } from "../../../../src/cli/bulk/remote/s3-output.js";
import { buildTiny, epalm, epalmProcess, temporaryFolder, withoutPackage } from "../../../support/cli-process.js";
import { S3Server } from "../../../support/s3-server.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1", "--concurrency", "2"];
const names = Array.from({ length: 7 }, (_, at) => `${at}.png`);
const server = new S3Server("media", "test-key");

before(async () => {
  await server.start();
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: server.endpoint,
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "test-key",
    AWS_SECRET_ACCESS_KEY: "secret",
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    EPALM_CACHE: join(folder, "cache"),
  });
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

beforeEach(async () => {
  server.objects.clear();
  const photo = await sharp({ create: { width: 40, height: 30, channels: 3, background: "teal" } })
    .png()
    .toBuffer();
  for (const name of names) server.put(`photos/${name}`, photo);
});

function parsed(text: string): readonly unknown[] {
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

describe("a process with inputs in S3", () => {
  const wrong: readonly (readonly [title: string, env: Record<string, string>, code: number, message: RegExp])[] = [
    [
      "credentials are refused",
      { AWS_ACCESS_KEY_ID: "other" },
      1,
      /epalm: s3:\S+ the credentials were refused: InvalidAccessKeyId: a message about InvalidAccessKeyId\n$/,
    ],
    [
      "there are no credentials",
      { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", AWS_EC2_METADATA_DISABLED: "true", HOME: folder },
      1,
      /epalm: s3:\S+ expected credentials, such as AWS_ACCESS_KEY_ID: /,
    ],
    [
      "there is no region",
      { AWS_REGION: "", HOME: folder },
      2,
      /epalm: s3:\S+ expected a region in AWS_REGION: Region /,
    ],
    [
      "the package is missing",
      withoutPackage("@aws-sdk/client-s3"),
      2,
      /expected the optional package @aws-sdk\/client-s3; run: npm install @aws-sdk\/client-s3\n$/,
    ],
  ];
  for (const [title, env, code, message] of wrong) {
    it(`ends if ${title}`, async () => {
      const ended = await epalmProcess(["caption", "s3://media/photos/", ...on, "--dry-run"], { env });
      assert.equal(ended.code, code, ended.stderr);
      assert.match(ended.stderr, message);
    });
  }
});

describe("a process with an output in S3", () => {
  for (const name of ["killed.jsonl", "killed.parquet"]) {
    it(`loses no answer if it is killed: ${name}`, async () => {
      const output = `s3://media/out/${name}`;
      const written = localCopyOf(output) + (name.endsWith("parquet") ? ".jsonl" : "");
      const args = ["caption", "s3://media/photos/", ...on, "-o", output];
      server.delay = 100;
      const child = spawn(process.execPath, ["dist/src/cli/main.js", ...args], { stdio: "ignore" });
      const closed = new Promise((resolve) => child.once("close", resolve));
      while (child.exitCode === null && !(existsSync(written) && statSync(written).size > 0)) await delay(2);
      child.kill("SIGKILL");
      await closed;
      server.delay = 0;
      const text = readFileSync(written, "utf8");
      const whole = parsed(text.slice(0, text.lastIndexOf("\n") + 1));
      assert.ok(whole.length > 0 && whole.length < names.length, `${whole.length}`);
      const again = await epalm(args);
      assert.deepEqual([again.code, again.stderr], [0, `${whole.length} of 7 were already answered\n`]);
      assert.deepEqual(readdirSync(join(folder, "cache", "s3-outputs")), []);
      if (name.endsWith("l")) {
        const found = parsed(server.text(`out/${name}`) ?? "");
        assert.deepEqual(found.slice(0, whole.length), whole);
        assert.equal(found.length, names.length);
      }
      assert.equal((await epalm(args)).stderr, "7 of 7 were already answered\n");
    });
  }
});
