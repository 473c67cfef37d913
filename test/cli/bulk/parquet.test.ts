import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { type ColumnSource, parquetWriteFile } from "hyparquet-writer";
import sharp from "sharp";
import { archiveOf } from "../../../src/cli/bulk/run-medium.js";
import { membersOf } from "../../../src/cli/bulk/tar-media.js";
import { buildTiny, epalm, epalmProcess, temporaryFolder, withoutPackage } from "../../support/cli-process.js";

const FIXTURES = join("test", "fixtures", "parquet");
const folder = temporaryFolder();
const model = join(folder, "tiny");
const settings = ["--max-tokens", "4", "--threads", "1", "--concurrency", "1"];
const on = ["--model", model, ...settings];
const photos = join(folder, "photos");
const names = Array.from({ length: 6 }, (_, at) => `${at}.png`);

before(async () => {
  mkdirSync(photos);
  for (const [at, name] of names.entries()) {
    const background = { r: 40 * at, g: 200 - 30 * at, b: 30 };
    await sharp({ create: { width: 40, height: 30, channels: 3, background } })
      .png()
      .toFile(join(photos, name));
  }
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

type Line = Record<string, unknown>;

function linesOf(text: string): Line[] {
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

/** What a command prints with `--json`. */
async function printed(...args: string[]): Promise<{ readonly code: number | null; readonly lines: Line[] }> {
  const { code, stdout } = await epalm([...args, ...on, "--json"]);
  return { code, lines: linesOf(stdout) };
}

async function rowsOf(path: string): Promise<Line[]> {
  return parquetReadObjects({ file: await asyncBufferFromFile(path) });
}

function writeTable(name: string, columnData: ColumnSource[]): string {
  const filename = join(folder, name);
  parquetWriteFile({ filename, columnData });
  return filename;
}

describe("Parquet input", { concurrency: true }, () => {
  for (const codec of ["snappy", "gzip", "zstd", "brotli", "lz4"]) {
    it(`may have the columns of a data set, compressed by ${codec}`, async () => {
      const file = join(FIXTURES, `images-${codec}.parquet`);
      const { code, lines } = await printed("caption", file);
      assert.equal(code, 0);
      assert.deepEqual(
        lines.map(({ file, input }) => [file, input]),
        [
          [
            `${file}/0`,
            {
              image: "a.png",
              ...{ id: "9007199254740993", question: "what?", tags: ["red", null], taken: "1970-01-01T00:00:00.000Z" },
              score: 0.5,
            },
          ],
          [`${file}/1`, { id: 1, question: "where?", tags: [], taken: "2023-11-14T22:13:20.000Z" }],
          [`${file}/2`, { image: "c.png", id: 2, score: -1 }],
        ],
      );
    });
  }

  it("gives the answers that the same images give as files", async () => {
    const images = writeTable("bytes.parquet", [
      {
        name: "pixels",
        type: "BYTE_ARRAY",
        data: names.map((name) => new Uint8Array(readFileSync(join(photos, name)))),
      },
      { name: "file", type: "STRING", data: names.map((name) => `photos/${name}`) },
    ]);
    const expected = (await printed("caption", photos)).lines.map(({ text }) => text);
    for (const column of ["pixels", "file"]) {
      const { lines } = await printed("caption", images, "--column", column);
      assert.deepEqual(
        lines.map(({ text }) => text),
        expected,
      );
      assert.deepEqual(
        lines.map(({ file }) => file),
        column === "file" ? names.map((name) => `photos/${name}`) : names.map((_, at) => `${images}/${at}`),
      );
    }
  });

  it("states its questions in a column, and is found by a pattern", async () => {
    const { code, lines } = await printed("vqa", join(FIXTURES, "images-{snappy,gzip}.parquet"));
    assert.equal(code, 1);
    const found = lines.map(({ question, error }) => [question, (error as { code: string } | undefined)?.code]);
    const expected = [
      ["what?", undefined],
      ["where?", undefined],
      [undefined, "invalid_option"],
    ];
    assert.deepEqual(found, [...expected, ...expected]);
    const { lines: globbed } = await printed("caption", join(FIXTURES, "images-s*"));
    assert.equal(globbed.length, 3);
  });

  it("may be in a folder that is called like a table", () => {
    const files = ["t.parquet/part-0.parquet/17", "t.parquet/part-0.parquet", "s.tar/a.tar/b.png", "t.parquet/a.png"];
    assert.deepEqual(files.map(archiveOf), [files[1], files[1], "s.tar", undefined]);
  });

  it("becomes WebDataset shards with the images", async () => {
    const output = join(folder, "shards-%03d.tar");
    const { code, stderr } = await epalm(["caption", join(FIXTURES, "images-gzip.parquet"), ...on, "-o", output]);
    assert.equal(code, 0, stderr);
    const members: string[] = [];
    for await (const { name } of membersOf(join(folder, "shards-000.tar")))
      members.push(name.replace(/^.*parquet\//, ""));
    const expected = ["0", "1", "2"].flatMap((row) => ["png", "txt", "json"].map((extension) => `${row}.${extension}`));
    assert.deepEqual(members, expected);
  });

  const table = () => writeTable("table.parquet", [{ name: "n", type: "DOUBLE", data: [1, 2] }]);
  const failures: readonly (readonly [
    title: string,
    file: () => string,
    args: string[],
    code: number,
    message: RegExp,
  ])[] = [
    [
      "no such column",
      table,
      ["--column", "photo"],
      2,
      /--column: .*table\.parquet: expected one of its columns, n, got 'photo'/,
    ],
    ["no usual column", table, [], 2, /--column: .*table\.parquet: expected one of its columns, n, got 'file'/],
    [
      "a column of numbers",
      table,
      ["--column", "n"],
      2,
      /--column: .*: expected a column of paths, of bytes, or of structs with 'bytes' and 'path', got 'n'/,
    ],
    ["no file", () => join(folder, "none.parquet"), [], 1, /none\.parquet: no such file/],
    [
      "another file",
      () => {
        writeFileSync(join(folder, "text.parquet"), "a text, not a table");
        return join(folder, "text.parquet");
      },
      [],
      1,
      /text\.parquet: cannot be read as Parquet: /,
    ],
    [
      "a truncated file",
      () => {
        const cut = join(folder, "cut.parquet");
        copyFileSync(join(FIXTURES, "images-zstd.parquet"), cut);
        truncateSync(cut, statSync(cut).size - 100);
        return cut;
      },
      [],
      1,
      /cut\.parquet: cannot be read as Parquet: /,
    ],
  ];
  for (const [title, file, args, expected, message] of failures) {
    it(`is reported clearly: ${title}`, async () => {
      const { code, stderr } = await epalm(["caption", file(), ...args, ...on]);
      assert.equal(code, expected);
      assert.match(stderr, message);
    });
  }

  it("does not end the run if a row group is damaged", async () => {
    const bad = join(folder, "bad.parquet");
    const bytes = readFileSync(join(FIXTURES, "images-gzip.parquet"));
    // All pages of the second row group, of which one is a third image.
    const magic = Buffer.from([0x1f, 0x8b, 0x08]);
    for (let at = bytes.lastIndexOf(magic); at > bytes.length / 4; at = bytes.lastIndexOf(magic, at - 1)) {
      bytes.fill(0xff, at + 10, at + 14);
    }
    writeFileSync(bad, bytes);
    const { code, lines } = await printed("caption", bad, join(photos, "0.png"));
    assert.equal(code, 1);
    const found = lines.map(({ file, error }) => [file, (error as { code: string } | undefined)?.code]);
    assert.deepEqual(found, [
      [`${bad}/0`, undefined],
      [`${bad}/1`, undefined],
      [bad, "invalid_data"],
      [join(photos, "0.png"), undefined],
    ]);
  });
});

describe("Parquet output", { concurrency: true }, () => {
  it("has the records of JSON lines, in typed columns", async () => {
    const list = join(folder, "list.csv");
    writeFileSync(list, `file,id\nphotos/0.png,7\nphotos/none.png,8\n`);
    const output = join(folder, "typed.parquet");
    const args = ["vqa", list, "-q", "what?", "-q", "é, \n?"];
    const { lines } = await printed(...args);
    const { code } = await epalm([...args, ...on, "-o", output]);
    assert.equal(code, 1);
    const nested = ["input", "error", "texts", "usage", "timings"];
    const rows = (await rowsOf(output)).map((row) => {
      const cells = Object.entries(row).filter(([, value]) => value !== null);
      return Object.fromEntries(
        cells.map(([name, value]) => [name, nested.includes(name) ? JSON.parse(`${value}`) : value]),
      );
    });
    const timeless = (all: readonly Line[]) => all.map(({ timings, ...line }) => [typeof timings, line]);
    assert.deepEqual(timeless(rows), timeless(lines));
    const { schema } = await parquetMetadataAsync(await asyncBufferFromFile(output));
    const types = new Map(schema.map(({ name, type, converted_type }) => [name, converted_type ?? type]));
    for (const name of ["file", "text", "model", ...nested]) assert.equal(types.get(name), "UTF8", name);
    assert.ok(!existsSync(`${output}.jsonl`));
  });

  it("is resumed, with failed files tried again", async () => {
    const own = join(folder, "own");
    mkdirSync(own);
    for (const name of ["0.png", "1.png"]) copyFileSync(join(photos, name), join(own, name));
    const output = join(folder, "resumed.parquet");
    const args = ["caption", ...["0.png", "late.png", "1.png"].map((name) => join(own, name)), ...on, "-o", output];
    assert.equal((await epalm(args)).code, 1);
    const before = await rowsOf(output);
    copyFileSync(join(photos, "2.png"), join(own, "late.png"));
    const listed = await epalm([...args, "--dry-run"]);
    assert.deepEqual([listed.code, listed.stdout], [0, `${join(own, "late.png")}\n`]);
    const again = await epalm(args);
    assert.deepEqual([again.code, again.stderr], [0, "2 of 3 were already answered\n"]);
    const rows = await rowsOf(output);
    assert.deepEqual(
      rows.map(({ file, error }) => [file, error]),
      ["0.png", "1.png", "late.png"].map((name) => [join(own, name), null]),
    );
    assert.deepEqual(rows.slice(0, 2), [before[0], before[2]]);
    const bytes = readFileSync(output);
    assert.equal((await epalm(args)).stderr, "3 of 3 were already answered\n");
    assert.deepEqual(readFileSync(output), bytes);
  });

  it("loses no answer of a run that is killed", async () => {
    const output = join(folder, "killed.parquet");
    const lines = `${output}.jsonl`;
    const args = ["caption", photos, ...on, "-o", output];
    const child = spawn(process.execPath, ["dist/src/cli/main.js", ...args], { stdio: "ignore" });
    const closed = new Promise((resolve) => child.once("close", resolve));
    while (child.exitCode === null && !(existsSync(lines) && statSync(lines).size > 0)) await delay(2);
    child.kill("SIGKILL");
    await closed;
    assert.ok(!existsSync(output));
    const written = readFileSync(lines, "utf8");
    const whole = linesOf(written.slice(0, written.lastIndexOf("\n") + 1));
    assert.ok(whole.length > 0 && whole.length < names.length, `${whole.length}`);
    const { code, stderr } = await epalm(args);
    assert.deepEqual([code, stderr], [0, `${whole.length} of ${names.length} were already answered\n`]);
    const rows = await rowsOf(output);
    assert.deepEqual(
      rows.map(({ file }) => file),
      names.map((name) => join(photos, name)),
    );
    for (const [at, { texts, timings }] of whole.entries()) {
      assert.deepEqual([rows[at]?.texts, rows[at]?.timings], [JSON.stringify(texts), JSON.stringify(timings)]);
    }
    assert.ok(!existsSync(lines));
  });

  it("loses no answer of a run that is killed between the new file and the removal of the lines", async () => {
    const output = join(folder, "between.parquet");
    const args = ["caption", photos, ...on];
    assert.equal((await epalm([...args, "-o", output])).code, 0);
    const lines = join(folder, "between.jsonl");
    assert.equal((await epalm([...args, "-o", lines])).code, 0);
    copyFileSync(lines, `${output}.jsonl`);
    const again = await epalm([...args, "-o", output]);
    assert.equal(again.stderr, "6 of 6 were already answered\n");
    assert.equal((await rowsOf(output)).length, names.length);
    assert.ok(!existsSync(`${output}.jsonl`));
  });

  it("is not written over another file, or answers of another model", async () => {
    const foreign = writeTable("foreign.parquet", [{ name: "file", type: "STRING", data: ["a.png"] }]);
    const own = join(folder, "other-model.parquet");
    assert.equal((await epalm(["caption", join(photos, "0.png"), ...on, "-o", own])).code, 0);
    const other = join(folder, "other");
    assert.equal((await buildTiny(other, "--name", "other")).code, 0);
    const cases = [
      [foreign, model, /foreign\.parquet: expected answers that epalm has written, got another file/],
      [own, other, /other-model\.parquet.*: expected an answer of the model 'other', got one of 'tiny'/],
    ] as const;
    for (const [output, folderOfModel, message] of cases) {
      const bytes = readFileSync(output);
      const { code, stderr } = await epalm(["caption", photos, ...settings, "--model", folderOfModel, "-o", output]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
      assert.deepEqual(readFileSync(output), bytes);
      assert.ok(!existsSync(`${output}.jsonl`));
    }
  });

  it("and input name the package that is missing", async () => {
    const output = join(folder, "missing.parquet");
    const table = join(FIXTURES, "images-zstd.parquet");
    for (const [name, ...args] of [
      ["hyparquet", table],
      ["hyparquet-compressors", table],
      ["hyparquet-writer", photos, "-o", output],
    ] as const) {
      const { code, stderr } = await epalmProcess(["caption", ...args, ...on, "--dry-run"], {
        env: withoutPackage(name),
      });
      assert.equal(code, 2, stderr);
      assert.match(stderr, new RegExp(`expected the optional package ${name}; run: npm install ${name}\n`));
    }
  });

  it("of shards is merged into what one run writes", async () => {
    const tables = ["snappy", "gzip", "zstd"].map((codec) => join(FIXTURES, `images-${codec}.parquet`));
    const args = ["caption", ...tables, ...names.map((name) => join(photos, name)), ...on];
    const [whole, output, merged] = ["whole", "part", "merged"].map((name) => join(folder, `${name}.parquet`));
    assert.ok(whole && output && merged);
    assert.equal((await epalm([...args, "-o", whole])).code, 0);
    for (const number of [1, 2]) {
      assert.equal((await epalm([...args, "-o", output, "--shard", `${number}/2`])).code, 0);
    }
    const parts = [1, 2].map((number) => output.replace(".parquet", `-0000${number}-of-00002.parquet`));
    const { code, stdout, stderr } = await epalm(["merge", ...parts, "-o", merged]);
    assert.deepEqual([code, stdout], [0, "15 answers of 2 parts, 0 of them failed\n"], stderr);
    const textsOf = async (path: string) => (await rowsOf(path)).map(({ file, text, input }) => [file, text, input]);
    assert.deepEqual(await textsOf(merged), await textsOf(whole));
    rmSync(parts[0] ?? "");
    assert.equal((await epalm(["merge", ...parts, "-o", merged])).code, 1);
  });
});
