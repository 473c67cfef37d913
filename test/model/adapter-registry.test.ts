import assert from "node:assert/strict";
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { loadAdapter, MANIFEST_FILE, readManifest } from "../../src/index.js";
import { AdapterRegistry, type ReadyAdapter } from "../../src/model/adapter-registry.js";
import type { TaskName } from "../../src/model/manifest.js";
import { SessionThread } from "../../src/runtime/session-thread.js";
import { ADAPTER_FILE, buildTinyModel, temporaryFolder } from "../support/tiny-model.js";

const thread = new SessionThread();
after(() => thread.close());

let built: string;
before(async () => {
  built = await buildTinyModel();
});

/** Copies the model and opens a registry of its adapters. */
async function openShelf(): Promise<{ readonly path: string; readonly registry: AdapterRegistry }> {
  const path = join(temporaryFolder(), "model");
  cpSync(built, path, { recursive: true });
  return { path, registry: await AdapterRegistry.open({ path, manifest: readManifest(path) }, thread) };
}

function nameFor(registry: AdapterRegistry, task: TaskName, name?: string): Promise<string> {
  return lend(registry, task, name, async (adapter) => adapter.name);
}

function lend<T>(
  registry: AdapterRegistry,
  task: TaskName,
  name: string | undefined,
  work: (adapter: ReadyAdapter) => Promise<T>,
): Promise<T> {
  return registry.acquire({ task, modality: "image", name }, work);
}

/** The output of the adapter for states of ones. */
async function computed(registry: AdapterRegistry, { session }: ReadyAdapter): Promise<number[]> {
  const { depth, width } = registry.manifest.encoder;
  const data = new Float32Array(depth * width).fill(1);
  const states = { type: "float32" as const, shape: [1, depth, width], data };
  const { perception } = await session.run({ cls_states: states }, ["perception"]);
  return Array.from(perception?.data ?? [], Number);
}

const isClosed = { code: "internal", message: /no session \d+ is open/ };

describe("AdapterRegistry", () => {
  it("acquires the first adapter for the task or the named one", async () => {
    const { registry } = await openShelf();
    assert.equal(await nameFor(registry, "caption"), "words");
    assert.equal(await nameFor(registry, "vqa"), "answers");
    assert.equal(await nameFor(registry, "vqa", "words"), "words");
    await assert.rejects(nameFor(registry, "vqa", "others"), {
      code: "not_found",
      message: "adapter 'others': expected one of words, answers",
    });
  });

  it("rejects a damaged adapter when it is opened, before any request", async () => {
    const { path } = await openShelf();
    const { file } = readManifest(path).adapters.answers ?? { file: "" };
    writeFileSync(join(path, file), "no tensors");
    const opening = AdapterRegistry.open({ path, manifest: readManifest(path) }, thread);
    await assert.rejects(opening, /adapters\/answers/);
  });

  it("keeps the last good version of an adapter whose file is damaged", async () => {
    const { path, registry } = await openShelf();
    const [words] = [readManifest(path).adapters.words?.file ?? ""];
    const before = await lend(registry, "caption", "words", (adapter) => computed(registry, adapter));
    writeFileSync(join(path, words), "no tensors");
    assert.deepEqual(
      (await registry.refresh()).refused.map(({ name }) => name),
      ["words"],
    );
    assert.deepEqual(await lend(registry, "caption", "words", (adapter) => computed(registry, adapter)), before);
    copyFileSync(ADAPTER_FILE, join(path, "adapters", "late.pth"));
    assert.deepEqual((await registry.refresh()).loaded, ["late"]);
    writeFileSync(join(path, "adapters", "late.pth"), "no tensors");
    const { loaded, removed, refused } = await registry.refresh();
    assert.deepEqual([loaded, removed, refused.map(({ name }) => name)], [[], [], ["late", "words"]]);
    assert.equal(await nameFor(registry, "vqa", "late"), "late");
  });

  it("closes a removed adapter after its last use", async () => {
    const { path, registry } = await openShelf();
    copyFileSync(ADAPTER_FILE, join(path, "adapters", "late.pth"));
    await registry.refresh();
    let lent: ReadyAdapter | undefined;
    await lend(registry, "vqa", "late", async (adapter) => {
      lent = adapter;
      await lend(registry, "vqa", "late", async () => {
        rmSync(join(path, "adapters", "late.pth"));
        assert.deepEqual((await registry.refresh()).removed, ["late"]);
        await assert.rejects(nameFor(registry, "vqa", "late"), { code: "not_found" });
      });
      assert.ok((await computed(registry, adapter)).length > 0, "it still works for requests that acquired it");
    });
    assert.ok(lent);
    await assert.rejects(computed(registry, lent), isClosed);
  });

  it("closes a replaced adapter at once if it is not in use", async () => {
    const { path, registry } = await openShelf();
    let before: ReadyAdapter | undefined;
    await lend(registry, "caption", "words", async (adapter) => {
      before = adapter;
    });
    const adapter = await loadAdapter({ path, manifest: readManifest(path) }, "words");
    await registry.use("words", adapter, "image");
    assert.ok(before);
    await assert.rejects(computed(registry, before), isClosed);
    assert.ok((await lend(registry, "caption", "words", (now) => computed(registry, now))).length > 0);
  });

  it("releases an adapter when the work with it fails", async () => {
    const { registry } = await openShelf();
    let lent: ReadyAdapter | undefined;
    const work = lend(registry, "caption", "words", async (adapter) => {
      lent = adapter;
      throw new TypeError("no work");
    });
    await assert.rejects(work, TypeError);
    const { path, manifest } = { path: built, manifest: readManifest(built) };
    await registry.use("words", await loadAdapter({ path, manifest }, "answers"), "image");
    assert.ok(lent);
    await assert.rejects(computed(registry, lent), isClosed);
  });

  it("applies changes one at a time", async () => {
    const { path, registry } = await openShelf();
    copyFileSync(ADAPTER_FILE, join(path, "adapters", "late.pth"));
    const changes = await Promise.all([registry.refresh(), registry.refresh()]);
    assert.deepEqual(
      changes.map(({ loaded }) => loaded),
      [["late"], []],
    );
  });

  it("rejects a folder that now contains another model, and keeps working", async () => {
    const { path, registry } = await openShelf();
    const file = join(path, MANIFEST_FILE);
    writeFileSync(file, readFileSync(file, "utf8").replace(/"name": "[^"]*"/, '"name": "another"'));
    await assert.rejects(registry.refresh(), { code: "invalid_model", message: /restart/ });
    assert.equal(await nameFor(registry, "caption"), "words");
  });
});
