import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { randomStreams } from "../../src/core/random.js";
import { clientsOf, divide } from "../../src/fedmae/split-clients.js";
import { temporaryFolder, tinyConfig } from "../support/tiny-clients.js";

function randomOf(seed: number) {
  const [random = Math.random] = randomStreams(seed, 1);
  return random;
}

/** Names of the images of several labels. */
function labelled(...counts: readonly number[]): string[][] {
  return counts.map((count, label) => Array.from({ length: count }, (_, index) => `${label}/${index}`));
}

/** The largest share of a client, averaged over labels and seeds. */
function largestShare(alpha: number): number {
  const shares: number[] = [];
  for (let seed = 0; seed < 20; seed++) {
    const owned = divide(labelled(100, 100, 100), 4, alpha, randomOf(seed));
    for (const label of [0, 1, 2]) {
      const counts = owned.map((images) => images.filter((name) => name.startsWith(`${label}/`)).length);
      shares.push(Math.max(...counts) / 100);
    }
  }
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

describe("divide", () => {
  it("assigns each image to exactly one client", () => {
    const given = fc.record({
      counts: fc.array(fc.nat(30), { maxLength: 5 }),
      clients: fc.integer({ min: 1, max: 8 }),
      alpha: fc.oneof(fc.double({ min: 1e-6, max: 1, noNaN: true }), fc.double({ min: 1, max: 1e6, noNaN: true })),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(given, ({ counts, clients, alpha, seed }) => {
        const owned = divide(labelled(...counts), clients, alpha, randomOf(seed));
        assert.equal(owned.length, clients);
        assert.deepEqual(
          owned.flat().sort(),
          labelled(...counts)
            .flat()
            .sort(),
        );
      }),
    );
  });

  it("divides evenly with a large alpha and unevenly with a small one", () => {
    assert.ok(largestShare(1000) < 0.3);
    assert.ok(largestShare(1) > 0.4 && largestShare(1) < 0.7);
    assert.ok(largestShare(0.05) > 0.85);
  });

  it("favours no client, even with a tiny alpha", () => {
    for (const alpha of [0.1, 1e-3, 1e-6]) {
      const owned = divide(labelled(...Array.from({ length: 400 }, () => 1)), 4, alpha, randomOf(1));
      for (const images of owned) {
        assert.ok(images.length > 60 && images.length < 140, `alpha ${alpha}: ${images.length} of 400`);
      }
    }
  });

  it("depends only on the seed", () => {
    const once = (seed: number) => divide(labelled(40, 40), 3, 0.5, randomOf(seed));
    assert.deepEqual(once(7), once(7));
    assert.notDeepEqual(once(7), once(8));
  });
});

describe("clientsOf", () => {
  const folder = temporaryFolder();
  const fill = (path: string, count: number) => {
    mkdirSync(join(folder, path), { recursive: true });
    for (let index = 0; index < count; index++) writeFileSync(join(folder, path, `${index}.png`), "");
  };
  fill("labelled/apple", 12);
  fill("labelled/pear/ripe", 12);
  fill("labelled/.hidden", 3);
  fill("flat", 2);

  it("reads the folder of each client recursively, without hidden files", async () => {
    const clients = [
      { name: "a", path: join(folder, "labelled") },
      { name: "b", path: join(folder, "flat") },
    ];
    const found = await clientsOf(tinyConfig({ clients }));
    assert.deepEqual(
      found.map(({ name, images }) => [name, images.length]),
      [
        ["a", 24],
        ["b", 2],
      ],
    );
  });

  it("divides one folder among the clients", async () => {
    const clients = { path: join(folder, "labelled"), count: 3, alpha: 100 };
    const found = await clientsOf(tinyConfig({ clients }));
    assert.deepEqual(
      found.map(({ name }) => name),
      ["client-1", "client-2", "client-3"],
    );
    assert.equal(new Set(found.flatMap(({ images }) => images)).size, 24);
    assert.deepEqual(await clientsOf(tinyConfig({ clients })), found);
    assert.notDeepEqual(await clientsOf(tinyConfig({ clients, seed: 1 })), found);
  });

  const at = (name: string) => join(folder, name);
  const refused: readonly (readonly [string, Parameters<typeof tinyConfig>[0]["clients"], string, RegExp])[] = [
    [
      "clients with the same name",
      [
        { name: "a", path: at("flat") },
        { name: "a", path: at("flat") },
      ],
      "invalid_option",
      /same name/,
    ],
    ["a client whose folder is missing", [{ name: "a", path: at("none") }], "not_found", /none: no such folder/],
    ["a client without images", [{ name: "a", path: at("labelled/.hidden/x") }], "not_found", /x: no such folder/],
    [
      "a division that leaves a client without images",
      { path: at("labelled"), count: 30, alpha: 1 },
      "invalid_data",
      /leaves client-\d+ without/,
    ],
    [
      "images without a label",
      { path: at("flat"), count: 1, alpha: 1 },
      "invalid_data",
      /0\.png: expected images in subfolders/,
    ],
  ];
  for (const [what, clients, code, message] of refused) {
    it(`rejects ${what}`, async () => {
      await assert.rejects(clientsOf(tinyConfig({ ...(clients && { clients }) })), { code, message });
    });
  }
});
