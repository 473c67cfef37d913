/** Hostile input: truncated, flipped or spliced files either open with their original content or are rejected. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EpalmError } from "../../src/core/errors.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { openTorchFile } from "../../src/formats/torch-file.js";
import { values } from "../support/same-tensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const VARIANTS = 400;
/** Maximum resident memory of the whole process in kilobytes; the files have a few kilobytes. */
const MAX_RESIDENT = 1_000_000;

const fixtures = "test/fixtures/checkpoints";
const golden = "test/fixtures/goldens/opt-shared-1token";
const folder = temporaryFolder();

/** Positions are fractions of the file. `tail` restricts flips to its end, where a zip archive has its directory. */
const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const damage = fc.oneof(
  fc.record({ kind: fc.constant("cut" as const), at: place }),
  fc.record({
    kind: fc.constant("flip" as const),
    flips: fc.array(fc.tuple(place, fc.nat(7)), { minLength: 1, maxLength: 4 }),
    tail: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("splice" as const),
    from: place,
    to: place,
    length: fc.integer({ min: 1, max: 200 }),
    insert: fc.boolean(),
  }),
);
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

/** Number of bytes at the end of a file for `tail` flips: directory, data offsets, last record. */
const TAIL_BYTES = 1200;

function damaged(original: Buffer, how: Damage): Buffer {
  const at = (fraction: number) => Math.floor(fraction * original.length);
  switch (how.kind) {
    case "cut":
      return original.subarray(0, at(how.at));
    case "flip": {
      const copy = Buffer.from(original);
      const start = how.tail ? Math.max(0, original.length - TAIL_BYTES) : 0;
      for (const [fraction, bit] of how.flips) {
        const index = start + Math.floor(fraction * (original.length - start));
        copy.writeUInt8(copy.readUInt8(index) ^ (1 << bit), index);
      }
      return copy;
    }
    case "splice": {
      const piece = original.subarray(at(how.from), at(how.from) + how.length);
      const resume = at(how.to) + (how.insert ? 0 : piece.length);
      return Buffer.concat([original.subarray(0, at(how.to)), piece, original.subarray(resume)]);
    }
    default:
      return how satisfies never;
  }
}

type Contents = ReadonlyMap<string, ReturnType<typeof values>>;

/** All tensors of a file; undefined if it was rejected with a proper error. */
async function contents(path: string): Promise<Contents | undefined> {
  try {
    const checkpoint = path.endsWith(".pth") ? await openTorchFile(path) : openSafetensors(path);
    try {
      return new Map([...checkpoint.tensors].map(([name, source]) => [name, values(source)]));
    } finally {
      checkpoint.close();
    }
  } catch (error) {
    assert.ok(error instanceof EpalmError, `${error instanceof Error ? error.stack : error}`);
    assert.ok(error.message.startsWith(path) && !error.message.includes("\n"), error.message);
    return undefined;
  }
}

/** Opens many damaged variants of a file and checks the contents of those that can be opened. */
async function tryVariants(source: string, check: (bytes: Buffer, found: Contents) => void): Promise<void> {
  const original = readFileSync(source);
  const path = join(folder, `variant${source.slice(source.lastIndexOf("."))}`);
  const variants = fc.asyncProperty(damage, async (how) => {
    const bytes = damaged(original, how);
    writeFileSync(path, bytes);
    const found = await contents(path);
    if (found) check(bytes, found);
  });
  await fc.assert(variants, { numRuns: VARIANTS, seed: 4 });
  assert.ok(process.resourceUsage().maxRSS < MAX_RESIDENT);
}

describe("damaged files", { timeout: 120_000 }, () => {
  for (const source of [`${golden}/adapter.pth`, `${fixtures}/views.pth`, `${fixtures}/element-types.pth`]) {
    it(`a torch file opens with its exact content or not at all: ${source}`, async () => {
      const expected = await contents(source);
      await tryVariants(source, (_, found) => assert.deepEqual(found, expected));
    });
  }

  for (const source of [`${golden}/adapter.safetensors`, `${fixtures}/element-types.safetensors`]) {
    it(`a safetensors file with an intact header has its names and shapes or does not open: ${source}`, async () => {
      const original = readFileSync(source);
      const headerEnd = 8 + Number(original.readBigUInt64LE(0));
      const shapes = shapesOf((await contents(source)) ?? new Map());
      await tryVariants(source, (bytes, found) => {
        const sizes = [...found.values()].map((tensor) => tensor?.data.byteLength ?? 0);
        const dataBytes = bytes.length - 8 - Number(bytes.readBigUInt64LE(0));
        assert.equal(
          sizes.reduce((sum, size) => sum + size, 0),
          dataBytes,
        );
        const headerIsWhole = bytes.subarray(0, headerEnd).equals(original.subarray(0, headerEnd));
        if (headerIsWhole) assert.deepEqual(shapesOf(found), shapes);
      });
    });
  }
});

function shapesOf(found: Contents) {
  return [...found].map(([name, tensor]) => ({ name, type: tensor?.type, shape: tensor?.shape }));
}
