import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, beforeEach, describe, it } from "node:test";
import { parquetReadObjects } from "hyparquet";
import sharp from "sharp";
import { localCopyOf } from "../../../src/cli/bulk/remote/s3-output.js";
import { buildTiny, epalm, type Finished, temporaryFolder } from "../../support/cli-process.js";
import { type S3Failure, S3Server } from "../../support/s3-server.js";
import { tarBytes } from "../../support/tar-bytes.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1", "--concurrency", "2"];
const names = Array.from({ length: 7 }, (_, at) => `${at} é+&.png`);
const server = new S3Server("media", "test-key");
const photos: Buffer[] = [];
let texts: string[] = [];

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
  mkdirSync(join(folder, "photos"));
  for (const [at, name] of names.entries()) {
    const background = { r: 35 * at, g: 200 - 25 * at, b: 30 };
    const photo = await sharp({ create: { width: 40, height: 30, channels: 3, background } })
      .png()
      .toBuffer();
    photos.push(photo);
    writeFileSync(join(folder, "photos", name), photo);
  }
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
  texts = (await lines("caption", join(folder, "photos"))).map(({ text }) => String(text));
});

beforeEach(() => {
  server.objects.clear();
  server.seen.length = 0;
  server.fail = () => undefined;
  server.delay = 0;
  server.mostReads = 0;
  for (const [at, name] of names.entries()) server.put(`photos/${name}`, photos[at] ?? "");
  for (const key of ["photos/", "photos/notes.txt", "photos/.hidden.png", "other.png"])
    server.put(key, photos[0] ?? "");
});

type Line = Record<string, unknown> & { readonly error?: { readonly code: string; readonly message: string } };

function parsed(text: string): Line[] {
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

async function lines(...args: string[]): Promise<Line[]> {
  return parsed((await epalm([...args, ...on, "--json"])).stdout);
}

function failing(key: string, failure: S3Failure): void {
  server.fail = (request) => (request.key === key ? failure : undefined);
}

const all = names.map((name) => `s3://media/photos/${name}`);

describe("inputs in S3", () => {
  it("are the media below a name in the order of the store, page by page, as few at a time as files", async () => {
    server.pageSize = 3;
    server.delay = 20;
    const found = await lines("caption", "s3://media/photos/");
    server.pageSize = 1000;
    assert.deepEqual(
      found.map(({ file, text }) => [file, text]),
      all.map((file, at) => [file, texts[at]]),
    );
    assert.equal(server.mostReads, 2);
    const bucket = await epalm(["caption", "s3://media", ...on, "--dry-run", "--exclude", "photos/*"]);
    assert.equal(bucket.stdout, "s3://media/other.png\n");
  });

  it("may be objects, patterns, lists, tar files and tables", async () => {
    const columns = readFile("images-zstd.parquet");
    server.put("lists/hf.parquet", columns);
    server.put("lists/s.tar", await tarBytes([{ name: "a.png", bytes: photos[2] ?? "" }]));
    server.put("lists/t.csv", `file,id\n../photos/${names[3]},7\ns3://media/other.png,8\n`);
    server.put("lists/names.txt", `${all[4]}\n`);
    const local = join(folder, "local.csv");
    writeFileSync(local, `file\n${all[5]}\n`);
    const args = ["s3://media/photos/[01]*.png", all[6] ?? "", "s3://media/lists/{s.tar,hf.parquet,t.csv}"];
    const found = await lines("caption", ...args, "@s3://media/lists/names.txt", local);
    assert.deepEqual(
      found.map(({ file, error }) => error?.message ?? file),
      [
        ...[all[0], all[1], all[6], "s3://media/lists/s.tar/a.png"],
        ...[0, 1, 2].map((row) => `s3://media/lists/hf.parquet/${row}`),
        ...[`../photos/${names[3]}`, "s3://media/other.png", all[4], all[5]],
      ],
    );
    for (const [at, photo] of [0, 1, 6, 2].entries()) assert.equal(found[at]?.text, texts[photo]);
    assert.equal(found[7]?.text, texts[3]);
  });

  it("become WebDataset shards and sidecars below a local folder", async () => {
    const [first = ""] = all;
    assert.equal((await epalm(["caption", first, ...on, "-o", join(folder, "shard.tar")])).code, 0);
    assert.ok(readFileSync(join(folder, "shard-000000.tar")).includes(photos[0] ?? ""));
    const beside = await epalm(["caption", first, ...on, "--sidecar", "txt"]);
    assert.match(beside.stderr, /--sidecar: s3:\/\/media\/photos\/0.* is not a file; expected --output with a folder/);
    assert.equal((await epalm(["caption", first, ...on, "--sidecar", "txt", "-o", join(folder, "texts")])).code, 0);
    assert.deepEqual(readdirSync(join(folder, "texts/media/photos")), ["0 é+&.txt"]);
  });

  it("are requested again if their transfer is cut", async () => {
    let cuts = 0;
    server.fail = ({ key }) => (key.startsWith("photos/3") && cuts++ < 2 ? "cut" : undefined);
    const found = await lines("caption", "s3://media/photos/");
    assert.deepEqual(
      found.map(({ text }) => text),
      texts,
    );
    assert.equal(cuts, 3);
  });

  const failures: readonly (readonly [title: string, failure: S3Failure, code: string, message: RegExp])[] = [
    ["is missing", { status: 404, code: "NoSuchKey" }, "not_found", /: no such object$/],
    ["must not be read", { status: 403, code: "AccessDenied" }, "download_failed", /: access is denied \(403\)$/],
    ["is always cut", "cut", "download_failed", /: the transfer was cut: /],
    ["is too large", { length: 300_000_000 }, "too_large", /: expected at most 268435456 bytes, got 300000000$/],
    [
      "cannot be sent",
      { status: 503, code: "SlowDown" },
      "connection_failed",
      /: the request failed: SlowDown: a message about SlowDown \(503\)$/,
    ],
  ];
  for (const [title, failure, code, message] of failures) {
    it(`do not end the run if an object ${title}`, async () => {
      failing(`photos/${names[3]}`, failure);
      const found = await lines("caption", "s3://media/photos/");
      assert.equal(found.length, names.length);
      assert.deepEqual(
        found.flatMap(({ file, error }) => (error ? [[file, error.code]] : [])),
        [[all[3], code]],
      );
      const text = found[3]?.error?.message ?? "";
      assert.ok(text.startsWith(`${all[3]}: `), text);
      assert.match(text, message);
    });
  }

  it("are reported if there is no such bucket or medium", async () => {
    const found = await lines(
      "caption",
      "s3://none/a/",
      "s3://media/empty/",
      "s3://media/none.tar",
      ...all.slice(0, 1),
    );
    assert.deepEqual(
      found.map(({ error }) => error?.message),
      [
        "s3://none/a/: there is no bucket 'none'",
        "s3://media/empty/: expected at least one medium, got none",
        "s3://media/none.tar: no such object",
        undefined,
      ],
    );
  });
});

describe("outputs in S3", () => {
  const local = (): string[] => readdirSync(join(folder, "cache", "s3-outputs"));
  const run = (output: string, ...more: string[]): Promise<Finished> =>
    epalm(["caption", "s3://media/photos/", ...on, "-o", output, ...more]);

  it("are uploaded at the end, and resumed", async () => {
    failing(`photos/${names[3]}`, { status: 403, code: "AccessDenied" });
    for (const name of ["a.jsonl", "a.csv", "a.parquet"]) {
      assert.equal((await run(`s3://media/out/${name}`)).code, 1);
      assert.deepEqual(local(), []);
    }
    assert.equal(parsed(server.text("out/a.jsonl") ?? "").length, names.length);
    server.fail = () => undefined;
    const kept = parsed(server.text("out/a.jsonl") ?? "").filter(({ error }) => !error);
    for (const name of ["a.jsonl", "a.csv", "a.parquet"]) {
      const listed = await run(`s3://media/out/${name}`, "--dry-run");
      assert.equal(listed.stdout, `${all[3]}\n`);
      const { code, stderr } = await run(`s3://media/out/${name}`);
      assert.deepEqual([code, stderr], [0, "6 of 7 were already answered\n"]);
    }
    const found = parsed(server.text("out/a.jsonl") ?? "");
    assert.deepEqual(found.slice(0, -1), kept);
    assert.equal(found.at(-1)?.text, texts[3]);
    assert.equal(server.text("out/a.csv")?.split("\n").length, names.length + 2);
    const bytes = server.objects.get("out/a.parquet")?.bytes ?? Buffer.alloc(0);
    const rows = await parquetReadObjects({ file: Uint8Array.from(bytes).buffer });
    assert.deepEqual(
      rows.map(({ text, file }) => [file, text]).sort(),
      all.map((file, at) => [file, texts[at]]),
    );
    assert.deepEqual(local(), []);
  });

  it("keep their answers on this machine if the upload fails, and upload them the next time", async () => {
    for (const name of ["b.jsonl", "b.parquet"]) {
      let puts = 0;
      const isAppended = name.endsWith("l");
      // The first upload of lines checks that the object can be written.
      server.fail = ({ method }) =>
        method === "PUT" && puts++ >= (isAppended ? 1 : 0) ? { status: 403, code: "AccessDenied" } : undefined;
      const output = `s3://media/out/${name}`;
      const failed = await run(output);
      assert.equal(failed.code, 1);
      const where = localCopyOf(output);
      const message = `--output: ${output}: access is denied (403); the answers are in ${where}, from which the same`;
      assert.ok(failed.stderr.includes(`${message} command continues`), failed.stderr);
      server.fail = () => undefined;
      server.seen.length = 0;
      const again = await run(output);
      assert.deepEqual([again.code, again.stderr], [0, "7 of 7 were already answered\n"]);
      assert.ok(!server.seen.some(({ method, key }) => method === "GET" && key.startsWith("photos/")));
      assert.ok((server.objects.get(`out/${name}`)?.bytes.length ?? 0) > 1000);
      assert.deepEqual(local(), []);
    }
  });

  it("notice at the beginning that they cannot be written", async () => {
    server.fail = ({ method }) => (method === "PUT" ? { status: 403, code: "AccessDenied" } : undefined);
    const { code, stderr } = await run("s3://media/out/denied.jsonl");
    assert.equal(code, 1);
    assert.equal(stderr, "epalm: --output: s3://media/out/denied.jsonl: access is denied (403)\n");
    assert.deepEqual(local(), []);
    assert.ok(!server.seen.some(({ key }) => key.startsWith("photos/")));
    server.fail = () => undefined;
    assert.match((await run("s3://none/a.jsonl")).stderr, /^epalm: --output: s3:\S+ there is no bucket 'none'\n$/);
  });

  it("are uploaded again if a store is busy", async () => {
    let puts = 0;
    server.fail = ({ method }) => (method === "PUT" && puts++ % 3 < 2 ? { status: 503, code: "SlowDown" } : undefined);
    const { code, stderr } = await run("s3://media/out/busy.jsonl");
    assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(parsed(server.text("out/busy.jsonl") ?? "").length, names.length);
  });

  it("are not overwritten if another run wrote them after one that was interrupted", async () => {
    const output = "s3://media/out/two.jsonl";
    let puts = 0;
    server.fail = ({ method }) => (method === "PUT" && puts++ > 0 ? { status: 403, code: "AccessDenied" } : undefined);
    assert.equal((await run(output)).code, 1);
    server.fail = () => undefined;
    server.put("out/two.jsonl", `{"file":"elsewhere.png","model":"tiny","text":"a"}\n`, { "epalm-run": "another" });
    const refused = await run(output);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /two\.jsonl: was written by another run; upload or delete .*two\.jsonl, which/);
    assert.match(server.text("out/two.jsonl") ?? "", /^\{"file":"elsewhere\.png"[^\n]*\n$/);
    // As after its deletion.
    rmSync(localCopyOf(output));
    assert.equal((await run(output)).code, 0);
    assert.equal(parsed(server.text("out/two.jsonl") ?? "").length, names.length + 1);
  });

  it("of shards have marks of completion beside them", async () => {
    for (const number of [1, 2]) assert.equal((await run("s3://media/out/c.jsonl", "--shard", `${number}/2`)).code, 0);
    const keys = Array.from(server.objects.keys()).filter((key) => key.startsWith("out/"));
    const parts = ["out/c-00001-of-00002.jsonl", "out/c-00002-of-00002.jsonl"];
    assert.deepEqual(
      keys.sort(),
      parts.flatMap((part) => [part, `${part}.done`]),
    );
    for (const key of keys) writeFileSync(join(folder, key.slice("out/".length)), server.text(key) ?? "");
    const merged = join(folder, "c.jsonl");
    const downloaded = parts.map((part) => join(folder, part.slice("out/".length)));
    assert.equal((await epalm(["merge", ...downloaded, "-o", merged])).code, 0);
    assert.deepEqual(
      parsed(readFileSync(merged, "utf8")).map(({ file }) => file),
      all,
    );
  });

  it("are no tar files or sidecars", async () => {
    for (const more of [["s3://media/out/x.tar"], ["s3://media/out/", "--sidecar", "txt"]]) {
      const { code, stderr } = await run(...(more as [string, ...string[]]));
      assert.equal(code, 2);
      assert.match(stderr, /^epalm: --output: expected a local name for sidecars and tar files, got s3:/);
    }
  });
});

function readFile(fixture: string): Uint8Array {
  return readFileSync(join("test", "fixtures", "parquet", fixture));
}
