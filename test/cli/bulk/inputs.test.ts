import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import sharp from "sharp";
import { namesIn } from "../../../src/cli/bulk/name-list.js";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../../support/cli-process.js";
import { tarBytes } from "../../support/tar-bytes.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const inside = (...names: string[]) => names.map((name) => join(folder, name));
let photo: Buffer;

before(async () => {
  photo = await sharp({ create: { width: 40, height: 30, channels: 3, background: "teal" } })
    .png()
    .toBuffer();
  for (const name of ["photos/b/deep", "photos/.hidden", "empty"]) mkdirSync(join(folder, name), { recursive: true });
  const files = ["c.PNG", "a.png", "b/x.png", "b/deep/y.jpg", ".z.png", ".hidden/q.png", "notes.txt", "old.tar"];
  for (const name of files) writeFileSync(join(folder, "photos", name), photo);
  symlinkSync(join(folder, "photos/a.png"), join(folder, "photos/d.png"));
  symlinkSync(join(folder, "photos"), join(folder, "photos/loop"));
  for (const name of ["[1].png", "p{1}.png"]) writeFileSync(join(folder, name), photo);
  const sample = (key: string, json: unknown) => [
    { name: `./${key}.json`, bytes: JSON.stringify(json) },
    { name: `./${key}.txt`, bytes: "a caption" },
    { name: `./${key}.seg.png`, bytes: photo },
  ];
  const members = [...sample("s0", { id: 7, question: "what?" }), ...sample("k/s1", { id: 8 })];
  const broken = [
    { name: "bad.json", bytes: "{" },
    { name: "bad.png", bytes: photo },
  ];
  const [first, second] = [await tarBytes(members), await tarBytes([...members, ...broken])];
  writeFileSync(join(folder, "shard-0.tar"), first);
  writeFileSync(join(folder, "shard-1.tar.gz"), gzipSync(second));
  writeFileSync(join(folder, "cut.tar"), second);
  truncateSync(join(folder, "cut.tar"), first.length - 1024 + 600);
  mkdirSync(join(folder, "table"));
  const rows = ["photo,id,question", '../photos/a.png,1,"what, where?"', "../photos/c.PNG,2,", ",3,skipped"];
  writeFileSync(join(folder, "table/photos.csv"), `\ufeff${rows.join("\n")}\n`);
  writeFileSync(join(folder, "table/photos.tsv"), "file\tid\n../photos/a.png\t1\n");
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

/** The files that a command would process. */
async function listed(...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await epalm(["caption", ...args, ...on, "--dry-run"]);
  assert.deepEqual([code, stderr], [0, ""]);
  return stdout.split("\n").slice(0, -1);
}

describe("inputs", { concurrency: true }, () => {
  const photos = ["a.png", "b/deep/y.jpg", "b/x.png", "c.PNG", "d.png"].map((name) => `photos/${name}`);
  const cases: readonly (readonly [title: string, args: readonly string[], expected: readonly string[]])[] = [
    ["a folder, sorted, without hidden and other files and links to folders", ["photos"], photos],
    ["a folder with --exclude", ["photos", "--exclude", "b/**", "--exclude", "[cd].*"], photos.slice(0, 1)],
    [
      "a folder with --include",
      ["photos", "--include", "*.txt", "--include", "b/*.png"],
      ["photos/b/x.png", "photos/notes.txt"],
    ],
    ["a pattern of one folder", ["photos/*.png"], ["photos/a.png", "photos/d.png"]],
    ["a pattern of all folders", ["photos/**/*.{png,jpg,gif}"], [...photos.slice(0, 3), "photos/d.png"].sort()],
    ["a pattern with ranges", ["photos/**/{a..c}.*"], ["photos/a.png", "photos/c.PNG"]],
    ["a pattern of tar files", ["shard-0.*"], ["shard-0.tar/s0.seg.png", "shard-0.tar/k/s1.seg.png"]],
    ["braces", ["photos/{a,c}.{png,PNG}"], ["photos/a.png", "photos/a.PNG", "photos/c.png", "photos/c.PNG"]],
    ["names that look like patterns, if such files exist", ["[1].png", "p{1}.png"], ["[1].png", "p{1}.png"]],
    ["a column of a CSV file", ["table/photos.csv", "--column", "photo"], ["../photos/a.png", "../photos/c.PNG"]],
    ["the column `file` of a TSV file", ["table/photos.tsv"], ["../photos/a.png"]],
    ["a file that is missing", ["nowhere.png"], ["nowhere.png"]],
  ];
  for (const [title, args, expected] of cases) {
    it(`may be ${title}`, async () => {
      const given = args.map((arg, at) =>
        arg.startsWith("--") || args[at - 1]?.startsWith("--") ? arg : join(folder, arg),
      );
      const names = (await listed(...given)).map((name) => name.replace(`${folder}/`, ""));
      const isBraces = title === "braces";
      assert.deepEqual(isBraces ? names.sort() : names, isBraces ? expected.toSorted() : expected);
    });
  }

  it("may be a list with one name per line or ended by NUL", async () => {
    const names = inside("photos/a.png", "[1].png");
    const lists: readonly (readonly [content: string, ...flags: string[]])[] = [
      [`${names.join("\n")}\n`],
      [names.join("\r\n")],
      [`${names.join("\0")}\0`],
      [names.join("\0"), "--null"],
    ];
    for (const [at, [content, ...flags]] of lists.entries()) {
      const list = join(folder, `list-${at}.txt`);
      writeFileSync(list, content);
      assert.deepEqual(await listed(`@${list}`, ...flags), names);
    }
    const { stdout } = await epalm(["caption", `@${join(folder, "list-0.txt")}`, ...on]);
    assert.deepEqual(stdout.match(/^.*(?=\t)/gm), names);
    const found = await epalmProcess(["caption", "@-", ...on, "--dry-run"], { input: Buffer.from(names.join("\0")) });
    assert.deepEqual([found.code, found.stderr, found.stdout], [0, "", `${names.join("\n")}\n`]);
  });

  it("may be WebDataset shards, whose JSON is copied and whose damage ends only the shard", async () => {
    const shards = inside("shard-0.tar", "shard-1.tar.gz", "cut.tar", "none.tar");
    const { code, stdout, stderr } = await epalm(["caption", ...shards, ...on, "--json"]);
    assert.equal(code, 1);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const found = lines.map(({ file, input, error }) => [file.replace(`${folder}/`, ""), input?.id, error?.code]);
    assert.deepEqual(found, [
      ["shard-0.tar/s0.seg.png", 7, undefined],
      ["shard-0.tar/k/s1.seg.png", 8, undefined],
      ["shard-1.tar.gz/s0.seg.png", 7, undefined],
      ["shard-1.tar.gz/k/s1.seg.png", 8, undefined],
      ["shard-1.tar.gz/bad.png", undefined, "invalid_data"],
      ["cut.tar/s0.seg.png", 7, undefined],
      ["cut.tar/k/s1.seg.png", 8, undefined],
      ["cut.tar", undefined, "invalid_data"],
      ["none.tar", undefined, "not_found"],
    ]);
    assert.match(stderr, /cut\.tar: is not a complete tar file: /);
    const { stdout: alone } = await epalm(["caption", join(folder, "photos/a.png"), ...on]);
    assert.equal(lines[0].text, JSON.parse(`"${alone.trimEnd()}"`));
  });

  it("state their questions in a column or in the JSON of a sample", async () => {
    const args = ["vqa", ...inside("table/photos.csv", "shard-0.tar"), "--column", "photo", ...on, "--json"];
    const { code, stdout } = await epalm(args);
    assert.equal(code, 1);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const found = lines.map(({ question, input, error }) => [question, input.id, error?.code]);
    assert.deepEqual(found, [
      ["what, where?", "1", undefined],
      [undefined, "2", "invalid_option"],
      ["what?", 7, undefined],
      [undefined, 8, "invalid_option"],
    ]);
  });

  const failures: readonly (readonly [title: string, arg: string, message: RegExp])[] = [
    ["an empty folder", "empty", /empty: expected at least one medium, got none/],
    ["a pattern without matches", "photos/*.gif", /\*\.gif: expected at least one medium, got none/],
    ["a pattern in a missing folder", "nowhere/*.png", /nowhere\/\*\.png: cannot be listed/],
    ["a missing CSV file", "none.csv", /none\.csv: cannot be read as CSV/],
  ];
  for (const [title, arg, message] of failures) {
    it(`fail one by one: ${title}`, async () => {
      const { code, stdout, stderr } = await epalm(["caption", join(folder, arg), ...inside("[1].png"), ...on]);
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.match(stdout, /\[1\]\.png\t/);
    });
  }

  it("are rejected with a name that no path has", async () => {
    const list = join(folder, "long.txt");
    writeFileSync(list, "x".repeat(300_000));
    const read = async () => {
      for await (const _ of namesIn(`@${list}`, false));
    };
    await assert.rejects(read(), {
      code: "too_large",
      message: `@${list}: expected names of at most 65536 characters`,
    });
  });

  it("are rejected without the column or the list", async () => {
    const table = await epalm(["caption", join(folder, "table/photos.csv"), ...on]);
    assert.equal(table.code, 2);
    assert.match(table.stderr, /--column: .*expected one of its columns, photo, id, question, got 'file'/);
    const list = await epalm(["caption", "@nowhere.txt", ...on]);
    assert.equal(list.code, 2);
    assert.match(list.stderr, /@nowhere\.txt: cannot be read as a list of names/);
  });

  it("are answered in order, whatever finishes first", async () => {
    const { stdout, stderr } = await epalm(["caption", join(folder, "photos"), ...on, "--concurrency", "3"]);
    assert.equal(stderr, "");
    const names = stdout.split("\n").map((line) => line.split("\t")[0]);
    assert.deepEqual(
      names.slice(0, -1),
      photos.map((name) => join(folder, name)),
    );
  });
});
