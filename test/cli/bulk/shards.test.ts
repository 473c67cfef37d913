import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import sharp from "sharp";
import { buildTiny, epalm, epalmProcess, temporaryFolder } from "../../support/cli-process.js";
import { tarBytes } from "../../support/tar-bytes.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
const on = ["--model", model, "--max-tokens", "4", "--threads", "1"];
const photos = Array.from({ length: 10 }, (_, at) => join(folder, `photo-${at}.png`));
const tars = Array.from({ length: 5 }, (_, at) => join(folder, `shard-${at}.tar`));

before(async () => {
  for (const [at, path] of photos.entries()) {
    const background = { r: 20 * at, g: 200 - 20 * at, b: 30 };
    await sharp({ create: { width: 40, height: 30, channels: 3, background } })
      .png()
      .toFile(path);
  }
  for (const [at, tar] of tars.entries()) {
    const members = photos.slice(0, at + 1).map((photo, key) => ({ name: `${key}.png`, bytes: readFileSync(photo) }));
    writeFileSync(tar, await tarBytes(members));
  }
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

/** The lines of a file without times, and with scores rounded: other neighbours in a batch change their last digits. */
function linesOf(path: string): string[] {
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    return line.replace(/"timings":\{[^}]*\}/, "").replace(/-?\d+\.\d+(e-\d+)?/g, (text) => Number(text).toFixed(4));
  });
}

function partOf(output: string, number: number, of: number): string {
  return output.replace(/(?=\.\w+$)/, `-0000${number}-of-0000${of}`);
}

/** Runs each of the shards, and returns the parts. */
async function runShards(args: readonly string[], output: string, of: number): Promise<string[]> {
  for (let number = 1; number <= of; number++) {
    const { code, stderr } = await epalm([...args, ...on, "-o", output, "--shard", `${number}/${of}`]);
    assert.equal(code, 0, stderr);
  }
  return Array.from({ length: of }, (_, at) => partOf(output, at + 1, of));
}

describe("shards", { concurrency: true }, () => {
  const kinds: readonly (readonly [title: string, args: readonly string[], extension: string])[] = [
    ["files as JSON lines", ["caption", ...photos], "jsonl"],
    ["files with several questions as CSV", ["vqa", ...photos, "-q", "what?", "-q", "where?"], "csv"],
    ["tar files", ["caption", ...tars], "jsonl"],
    [
      "tar files among others",
      ["caption", ...photos.slice(0, 3), ...tars, photos[0] ?? "", ...photos.slice(3)],
      "jsonl",
    ],
  ];
  for (const [title, args, extension] of kinds) {
    it(`of ${title} are merged into what one run writes`, async () => {
      const name = title.replaceAll(" ", "-");
      const [whole, parted, merged] = [`${name}-whole`, name, `${name}-merged`].map((stem) =>
        join(folder, `${stem}.${extension}`),
      ) as [string, string, string];
      const { code } = await epalm([...args, ...on, "-o", whole]);
      assert.equal(code, 0);
      const parts = await runShards(args, parted, 4);
      const done = parts.map((part) => `${part}.done`);
      const joined = await epalm(["merge", ...parts.toReversed(), ...done, "-o", merged]);
      assert.equal(joined.code, 0, joined.stderr);
      assert.deepEqual(linesOf(merged), linesOf(whole));
    });
  }

  it("take the number from the environment of an Indexed Job", async () => {
    const args = ["caption", ...photos, ...on, "--dry-run", "--shard", "4"];
    const { code, stdout } = await epalmProcess(args, { env: { JOB_COMPLETION_INDEX: "3" } });
    assert.deepEqual([code, stdout], [0, `${[photos[3], photos[7]].join("\n")}\n`]);
    const without = await epalm(args);
    assert.equal(without.code, 2);
    assert.match(without.stderr, /--shard: expected i\/n, or JOB_COMPLETION_INDEX from 0 to 3, got none/);
  });

  it("are not merged if one is missing, is incomplete or is given twice", async () => {
    const output = join(folder, "incomplete.jsonl");
    const parts = await runShards(["caption", ...photos], output, 4);
    const [first = "", second = "", third = "", fourth = ""] = parts;
    const merged = join(folder, "incomplete-merged.jsonl");
    const merge = (...names: string[]) => epalm(["merge", ...names, "-o", merged]);
    rmSync(`${second}.done`);
    const missing = await merge(first, second, fourth);
    assert.equal(missing.code, 1);
    assert.equal(
      missing.stderr,
      "epalm: parts: expected all 4, but part 2 is not complete: run `--shard 2/4` again; part 3 is missing\n",
    );
    const again = await epalm(["caption", ...photos, ...on, "-o", output, "--shard", "2/4"]);
    assert.deepEqual([again.code, again.stderr], [0, "3 of 3 were already answered\n"]);
    const joined = await merge(...parts, "--json");
    assert.deepEqual(JSON.parse(joined.stdout), { parts: 4, answers: 10, failed: 0 });
    assert.match((await merge(...parts, first)).stderr, /expected one part 1/);
    assert.match((await merge(first, photos[0] ?? "")).stderr, /expected names like captions-00001-of-00004\.jsonl/);
    copyFileSync(second, third);
    const twice = await merge(...parts);
    assert.equal(twice.code, 1);
    assert.match(twice.stderr, /00003-of-00004\.jsonl:1: '.*photo-1\.png' has been answered in another part/);
    assert.equal(linesOf(merged).length, 10);
  });

  for (const value of ["0/4", "5/4", "1/0", "a/b", "1/2/3", ""]) {
    it(`are rejected: ${value}`, async () => {
      const { code, stderr } = await epalm(["caption", "a.png", ...on, "--shard", value]);
      assert.equal(code, 2);
      assert.match(stderr, /--shard/);
    });
  }
});
