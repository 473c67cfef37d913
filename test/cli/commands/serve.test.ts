import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { SampleList, TextAnswer } from "../../../src/wire.js";
import { form, postForm } from "../../support/running-server.js";
import { buildTinyModel, picture, temporaryFolder } from "../../support/tiny-model.js";

const entry = fileURLToPath(new URL("../../../src/cli/main.js", import.meta.url));

let model: string;
let png: Buffer;
before(async () => {
  model = await buildTinyModel();
  png = await picture();
});

interface Started {
  readonly child: ChildProcess;
  readonly url: string;
  readonly log: () => string;
}

async function start(args: readonly string[], environment: Record<string, string> = {}): Promise<Started> {
  const child = spawn(process.execPath, [entry, "serve", "--port", "0", ...args], {
    env: { ...process.env, ...environment },
  });
  let [log, told] = ["", ""];
  child.stdout.on("data", (chunk) => {
    log += chunk;
  });
  for await (const chunk of child.stderr) {
    told += chunk;
    const [url] = /http:\/\/[\d.:]+/.exec(told) ?? [];
    if (url !== undefined) return { child, url, log: () => log };
  }
  throw new TypeError(`the service ended: ${told}`);
}

async function answerOf(asked: Promise<Response>): Promise<TextAnswer> {
  const response = await asked;
  assert.equal(response.status, 200);
  return (await response.json()) as TextAnswer;
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null) await once(child, "exit");
  return child.exitCode;
}

describe("epalm serve", () => {
  it("finishes running requests after SIGTERM and exits with 0", async () => {
    const { child, url } = await start(["--model", `tiny=${model}`, "--threads", "1"]);
    const asked = postForm(`${url}/caption`, form(png, { max_tokens: "40", min_tokens: "40", beams: "1" }));
    await new Promise((resolve) => setTimeout(resolve, 100));
    child.kill("SIGTERM");
    const response = await asked;
    assert.equal(response.status, 200);
    assert.equal(await ended(child), 0);
    await assert.rejects(fetch(`${url}/healthz`));
  });

  it("reads settings from file, environment and flags, and does not log keys", async () => {
    const config = join(temporaryFolder(), "serve.yaml");
    writeFileSync(config, `models: { tiny: ${model} }\nlimits: { newTokens: 7 }\n`);
    const secret = "a-secret-of-enough-letters";
    const { child, url, log } = await start(["--config", config], { EPALM_API_KEYS: `me=${secret}` });
    assert.equal((await postForm(`${url}/caption`, form(png))).status, 401);
    const headers = { authorization: `Bearer ${secret}` };
    const refused = await postForm(`${url}/caption`, form(png, { max_tokens: "8" }), { headers });
    assert.equal(refused.status, 413);
    child.kill("SIGTERM");
    assert.equal(await ended(child), 0);
    assert.match(log(), /"newTokens":7/);
    assert.ok(!log().includes(secret));
  });

  it("serves the model that comes with epalm by default", async () => {
    const { child, url } = await start(["--threads", "1"]);
    after(() => child.kill());
    const sample = (name: string) => readFileSync(join("models/default/samples", `${name}.jpg`));
    const grounds = { "red-apple": "blue", "cat-left-of-a-hamburger": "yellow" };
    for (const [name, color] of Object.entries(grounds)) {
      const { text, adapter } = await answerOf(postForm(`${url}/caption`, form(sample(name))));
      assert.equal(adapter, "caption");
      assert.match(text, new RegExp(`${color} background`));
      const question = "what color is the background";
      const answer = await answerOf(postForm(`${url}/vqa`, form(sample(name), { question })));
      assert.deepEqual([answer.text, answer.adapter], [color, "vqa"]);
    }
    const [firstVideo = ""] = readdirSync("models/default/samples").filter((name) => name.endsWith(".mp4"));
    const soundAndClip = [
      ["audio", "siren-then-a-falling-whistle.wav", /siren/, "caption-audio"],
      ["video", firstVideo, / background$/, "caption-video"],
    ] as const;
    for (const [field, name, words, trained] of soundAndClip) {
      const medium = new FormData();
      medium.set(field, new Blob([readFileSync(join("models/default/samples", name))]), name);
      const { text, adapter } = await answerOf(postForm(`${url}/caption`, medium));
      assert.equal(adapter, trained);
      assert.match(text, words);
    }
    const { samples } = (await (await fetch(`${url}/samples`)).json()) as SampleList;
    assert.ok(samples.some(({ name }) => name === "red-apple.jpg"));
    child.kill("SIGTERM");
    assert.equal(await ended(child), 0);
  });

  const refusals: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["a missing folder", ["--model", "no-such-folder"], /no-such-folder/],
    ["a port out of range", ["--port", "70000"], /65535/],
    ["a missing config file", ["--config", "no-such.yaml"], /no-such\.yaml/],
  ];
  async function refusal(args: readonly string[]): Promise<string> {
    const child = spawn(process.execPath, [entry, "serve", ...args]);
    let told = "";
    child.stderr.on("data", (chunk) => {
      told += chunk;
    });
    assert.notEqual(await ended(child), 0);
    return told.trim();
  }
  for (const [what, args, message] of refusals) {
    it(`rejects ${what} on one line`, async () => {
      const told = await refusal(args);
      assert.match(told, message);
      assert.equal(told.split("\n").length, 1);
    });
  }

  it("reports a missing folder before it tries to listen on a port in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    try {
      const { port } = other.address() as AddressInfo;
      assert.match(await refusal(["--model", "no-such-folder", "--port", String(port)]), /no-such-folder/);
    } finally {
      other.close();
    }
  });
});
