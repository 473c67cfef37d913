import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { type Job, Queue, QueueEvents } from "bullmq";
import { load } from "../../../src/index.js";
import { findRedis, RedisServer } from "../../support/redis.js";
import { buildTinyModel, picture, temporaryFolder } from "../../support/tiny-model.js";

const program = findRedis();
const skip = program === undefined && "redis-server or valkey-server is not installed";

/** Makes one job take seconds with the tiny model, so that its worker can be stopped meanwhile. */
const LONG = { max_tokens: 8, beams: 8, n: 1, question: Array.from({ length: 16 }, (_, at) => `What is ${at}?`) };

interface RunningWorker {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly status: string;
}

describe("epalm worker", { skip, timeout: 240_000 }, () => {
  const workers: ChildProcess[] = [];
  let redis: RedisServer;
  let folder: string;
  let uploads: string;
  let image: Buffer;
  let queues: { close(): Promise<void> }[] = [];

  before(async () => {
    redis = await RedisServer.start(program ?? "", temporaryFolder());
    folder = await buildTinyModel();
    uploads = temporaryFolder();
    image = await picture();
    writeFileSync(join(uploads, "a.png"), image);
  });
  after(async () => {
    for (const child of workers) child.kill("SIGKILL");
    await Promise.allSettled(queues.map((queue) => queue.close()));
    await redis?.stop();
  });

  function open(name: string): { queue: Queue; events: QueueEvents } {
    const connection = { host: "127.0.0.1", port: redis.port, password: RedisServer.password, db: 1 };
    const [queue, events] = [new Queue(name, { connection }), new QueueEvents(name, { connection })];
    queue.on("error", () => undefined);
    events.on("error", () => undefined);
    queues = [...queues, queue, events];
    return { queue, events };
  }

  async function start(name: string, ...more: string[]): Promise<RunningWorker> {
    const options = ["--queue-name", name, "--model", folder, "--media-folder", uploads, "--threads", "1"];
    const args = ["dist/src/cli/main.js", "worker", ...options, "--port", "0", "--stalled-seconds", "2", ...more];
    const child = spawn(process.execPath, args, { env: { ...process.env, EPALM_QUEUE: redis.url } });
    workers.push(child);
    let text = "";
    const status = await new Promise<string>((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding("utf8").on("data", (piece: string) => {
          text += piece;
          const [, url] = /status at (http\S+)/.exec(text) ?? [];
          if (url) resolve(url);
        });
      }
      child.once("exit", () => reject(new Error(text)));
    });
    return { child, output: () => text, status };
  }

  async function stop({ child }: RunningWorker): Promise<number | null> {
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    const [code] = await exit;
    return code;
  }

  async function until(what: string, check: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; tries < 600; tries++, await pause(100)) if (await check()) return;
    throw new Error(`timed out: ${what}`);
  }

  it("answers jobs as the pipeline does, and fails bad ones once with a clear message", async () => {
    const { queue, events } = open("answers");
    const worker = await start("answers", "--rate-limit", "50");
    const base64 = image.toString("base64");
    const caption = await queue.add("c", { task: "caption", path: "a.png", max_tokens: 5 });
    const vqa = await queue.add("v", { task: "vqa", image: base64, question: "What is it?", max_tokens: 5 });
    const bad = await queue.add("b", { task: "caption", path: "../a.png" }, { attempts: 5 });
    const model = await load(folder, { threads: 1 });
    const encoded = await model.encode(image);
    const expected = [
      (await encoded.caption({ maxNewTokens: 5 })).texts[0]?.text,
      (await encoded.vqa("What is it?", { maxNewTokens: 5 })).texts[0]?.text,
    ];
    await model.close();
    const answers = [await caption.waitUntilFinished(events), await vqa.waitUntilFinished(events)];
    assert.deepEqual(
      answers.map(({ text }) => text),
      expected,
    );
    assert.deepEqual(
      answers.map(({ adapter, modality }) => [adapter, modality]),
      [
        ["words", "image"],
        ["answers", "image"],
      ],
    );
    const message = "invalid_option: path: expected a path below the media folder, got '../a.png'";
    await assert.rejects(bad.waitUntilFinished(events), { message });
    assert.equal((await queue.getJob(bad.id ?? ""))?.attemptsMade, 1);
    const metrics = await (await fetch(`${worker.status}/metrics`)).text();
    assert.match(metrics, /^epalm_jobs_total\{result="completed"\} 2$/m);
    assert.match(metrics, /^epalm_jobs_total\{result="failed"\} 1$/m);
    assert.match(metrics, /^epalm_jobs_total\{result="retried"\} 0$/m);
    assert.match(metrics, /^epalm_jobs_active 0$/m);
    assert.match(metrics, /^epalm_jobs_waiting 0$/m);
    assert.equal((await fetch(`${worker.status}/healthz`)).status, 200);
    assert.equal((await fetch(`${worker.status}/readyz`)).status, 200);
    assert.equal((await fetch(`${worker.status}/caption`, { method: "POST" })).status, 404);
    assert.equal(await stop(worker), 0);
    assert.ok(!worker.output().includes(RedisServer.password));
  });

  it("runs the job of a killed worker once more and answers it once", async () => {
    const { queue, events } = open("killed");
    const finished = new Map<string, number>();
    events.on("completed", ({ jobId }) => finished.set(jobId, (finished.get(jobId) ?? 0) + 1));
    await events.waitUntilReady();
    const three = [await start("killed"), await start("killed"), await start("killed")];
    const long = await queue.add("v", { task: "vqa", path: "a.png", ...LONG });
    let busy: RunningWorker | undefined;
    await until("a worker has the job", async () => {
      for (const worker of three) {
        const metrics = await (await fetch(`${worker.status}/metrics`)).text();
        if (/^epalm_jobs_active 1$/m.test(metrics)) busy = worker;
      }
      return busy !== undefined;
    });
    busy?.child.kill("SIGKILL");
    assert.ok(await long.isActive(), "the worker was killed before its answer");
    await until("the job is completed", () => long.isCompleted());
    const done = await queue.getJob(long.id ?? "");
    assert.equal(done?.attemptsStarted, 2);
    assert.equal(done?.stalledCounter, 1);
    assert.equal(done?.returnvalue.answers.length, LONG.question.length);
    await pause(3000);
    assert.deepEqual(Array.from(finished), [[long.id, 1]]);
    for (const worker of three) if (worker !== busy) assert.equal(await stop(worker), 0);
  });

  it("loses nothing when Redis stops and starts", async () => {
    const { queue } = open("restart");
    const worker = await start("restart");
    const add = (count: number) =>
      Promise.all(Array.from({ length: count }, () => queue.add("v", { task: "vqa", path: "a.png", ...LONG })));
    const jobs: Job[] = await add(6);
    await until("a job is active", async () => (await queue.getActiveCount()) > 0);
    await redis.stop();
    await until("not ready", async () => (await fetch(`${worker.status}/readyz`)).status === 503);
    assert.equal((await fetch(`${worker.status}/metrics`)).status, 200);
    assert.equal(worker.child.exitCode, null);
    await redis.start();
    jobs.push(...(await add(2)));
    await until("all are completed", async () => (await queue.getCompletedCount()) === jobs.length);
    assert.equal(await queue.getFailedCount(), 0);
    assert.equal(worker.child.exitCode, null);
    assert.equal(await stop(worker), 0);
    assert.ok(!worker.output().includes(RedisServer.password));
  });

  it("finishes jobs in flight after SIGTERM and leaves the others in the queue", async () => {
    const { queue } = open("terminated");
    const worker = await start("terminated");
    await queue.addBulk(
      Array.from({ length: 40 }, () => ({ name: "v", data: { task: "vqa", path: "a.png", ...LONG } })),
    );
    await until("a job is active", async () => (await queue.getActiveCount()) > 0);
    assert.equal(await stop(worker), 0);
    const { active, completed, failed, waiting } = await queue.getJobCounts("active", "completed", "failed", "waiting");
    assert.deepEqual({ active, failed }, { active: 0, failed: 0 });
    assert.ok((completed ?? 0) > 0 && (waiting ?? 0) > 0, `${completed} completed, ${waiting} waiting`);
    assert.equal((completed ?? 0) + (waiting ?? 0), 40);
  });
});
