import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import sharp from "sharp";
import { buildTiny, epalm, temporaryFolder } from "../../../support/cli-process.js";

const exiftool = (...args: string[]) => spawnSync("exiftool", args, { encoding: "utf8" });
const skip = exiftool("-ver").error ? "no exiftool: install the package libimage-exiftool-perl" : false;

it("a sidecar of exiftool keeps its properties, and exiftool reads the caption", { skip }, async () => {
  const folder = temporaryFolder();
  const model = join(folder, "tiny");
  assert.equal((await buildTiny(model)).code, 0);
  const photo = join(folder, "a.png");
  const pixels = { width: 40, height: 30, channels: 3, background: "teal" } as const;
  writeFileSync(photo, await sharp({ create: pixels }).png().toBuffer());
  const given = ["-XMP-xmp:Rating=4", "-XMP-dc:Subject=cat", "-XMP-dc:Subject=a & b", "-XMP-dc:Description-de=Katze"];
  const made = exiftool(...given, "-XMP-exif:GPSLatitude=48.5", `${photo}.xmp`);
  assert.equal(made.status, 0, made.stderr);
  const tags = () => {
    const { stdout } = exiftool("-j", "-G1", "-struct", "-XMP:all", `${photo}.xmp`);
    return JSON.parse(stdout)[0];
  };
  const before = tags();
  assert.deepEqual(before["XMP-dc:Subject"], ["cat", "a & b"]);

  const text = `A <cat> & "a dog" 🐈`;
  const options = ["--guided-choice", text, "--max-tokens", "40", "--threads", "1"];
  const run = await epalm(["caption", photo, "--model", model, "--xmp", "full-name", ...options]);
  assert.equal(run.code, 0, run.stderr);
  assert.equal(before["XMP-dc:Description-de"], "Katze");
  assert.deepEqual(tags(), { ...before, "XMP-dc:Description": text });
  const checked = exiftool("-validate", "-warning", "-a", `${photo}.xmp`);
  assert.match(checked.stdout, /Validate\s*: OK/, readFileSync(`${photo}.xmp`, "utf8"));
});
