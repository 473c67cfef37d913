import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { textAnswer } from "../../../src/wire.js";
import { buildAllSensesModel } from "../../support/all-modalities-model.js";
import { countingServer } from "../../support/counting-server.js";
import { type Damage, damaged, enormousMp4, pointers } from "../../support/hostile-files.js";
import { runningFfmpegs } from "../../support/running-processes.js";
import { form, postForm, startServer } from "../../support/running-server.js";
import { temporaryFolder } from "../../support/tiny-model.js";

/** Damaged and hostile media over HTTP must not cause an internal error or leave files or processes behind. */

const AT_ONCE = 4;

const folder = await buildAllSensesModel();
const canary = join(temporaryFolder(), "canary.raw");
writeFileSync(canary, "this file must not be read");
const { address, visits } = await countingServer();

const temporary = mkdtempSync(join(tmpdir(), "epalm-left-"));
after(() => rmSync(temporary, { recursive: true }));
// Threads copy the environment when they start.
process.env.TMPDIR = temporary;
const running = await startServer({ models: { all: folder }, logLevel: "silent", stateCacheBytes: 0 });

type Field = "audio" | "video" | "media";
type Sent = readonly [field: Field, damage: Damage];

const fixture = (name: string) => readFileSync(join("test/fixtures/media", name));
const damagedAs = (field: Field, names: readonly string[]): Sent[] =>
  names.flatMap((name) => {
    return damaged(fixture(name)).map(([what, bytes]): Sent => [field, [`${name}, ${what}`, bytes]]);
  });
const enormousAs = (field: Field, name: string): Sent[] =>
  enormousMp4(fixture(name)).map((damage): Sent => [field, damage]);

const fields: readonly Field[] = ["audio", "video", "media"];
const sets: Readonly<Record<string, readonly Sent[]>> = {
  "damaged audio files": damagedAs("audio", ["tone.wav", "tone.mp3", "tone.flac", "tone.opus.ogg", "tone.m4a"]),
  "damaged videos": damagedAs("video", ["h264.mp4", "vp9.webm", "mpeg4.mov", "colours.gif", "colours.webp"]),
  "enormous sizes": [...enormousAs("video", "h264.mp4"), ...enormousAs("audio", "tone.m4a")],
  "media that point elsewhere": pointers(canary, address).map((damage, at): Sent => {
    return [fields[at % fields.length] ?? "media", damage];
  }),
};

/** A description of what is wrong with the response, or undefined. */
async function complaint([field, [name, bytes]]: Sent, mayBeRight: boolean): Promise<string | undefined> {
  const body = form(undefined, { max_tokens: "2", beams: "1" });
  body.append(field, new Blob([new Uint8Array(bytes)]), "medium");
  const response = await postForm(`${running.url}/caption`, body);
  const text = await response.text();
  if (response.status === 200 && mayBeRight) {
    const { modality } = textAnswer.parse(JSON.parse(text));
    if (field === "media" || modality === field) return undefined;
  }
  const isProblem = /^application\/problem\+json/.test(response.headers.get("content-type") ?? "");
  const { status } = response;
  // One line of printable ASCII, without paths of this machine.
  const isPlain = /^[ -~]+$/.test(text) && !text.includes(temporary);
  if (status >= 400 && status < 500 && isProblem && isPlain && JSON.parse(text).field === field) return undefined;
  return `${field} ${name}: ${status}: ${text.slice(0, 300)}`;
}

async function answersRightly(): Promise<void> {
  const bytes = fixture("tone.wav");
  const body = form(undefined, { max_tokens: "4" });
  body.append("audio", new Blob([new Uint8Array(bytes)]), "tone.wav");
  const { text } = textAnswer.parse(await (await postForm(`${running.url}/caption`, body)).json());
  const expected = await running.models.get("all").model.caption(bytes, { maxNewTokens: 4 });
  assert.equal(text, expected.text);
}

const total = Object.values(sets).reduce((sum, sent) => sum + sent.length, 0);

test("there are more than 200 hostile media", () => assert.ok(total > 200, `${total}`));

for (const [title, sent] of Object.entries(sets)) {
  test(`rejects or answers ${sent.length} ${title} and leaves nothing behind`, async () => {
    const wrong: string[] = [];
    const mayBeRight = title !== "media that point elsewhere";
    const rest = sent.values();
    const client = async () => {
      for (const one of rest) {
        const found = await complaint(one, mayBeRight);
        if (found !== undefined) wrong.push(found);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, client));
    assert.deepEqual(wrong, []);
    assert.deepEqual([runningFfmpegs(), readdirSync(temporary), visits], [[], [], []]);
    await answersRightly();
  });
}
