import assert from "node:assert/strict";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { installAdapter, openModelFolder } from "../../../src/index.js";
import { adapterWidths, backbonesOf } from "../../../src/model/model-folder.js";
import { addPatchGraph } from "../../../src/model/patch-graph.js";
import { initialAdapter } from "../../../src/training/adapter/initial-adapter.js";
import { buildTiny, epalm, epalmProcess, GOLDEN, temporaryFolder } from "../../support/cli-process.js";

describe("epalm inspect", { concurrency: true }, () => {
  const folder = temporaryFolder();
  const model = join(folder, "tiny");
  before(() => buildTiny(model));

  /** A copy of the model folder, for tests that damage it. */
  function copy(): string {
    const target = mkdtempSync(join(folder, "copy-"));
    cpSync(model, target, { recursive: true });
    return target;
  }

  it("shows backbones, parameters, tasks and the layers into which the adapter injects", async () => {
    const { code, stdout, stderr } = await epalmProcess(["inspect", model]);
    assert.deepEqual([code, stderr], [0, ""]);
    const expected = [
      /^encoder +vit +fp32 +[\d.]+ kB +4 blocks of width 32, input 3 x 32 x 32 +encoder +not stated$/m,
      /^decoder +opt +fp32 +[\d.]+ kB +6 layers of width 48, 320 tokens, 64 positions/m,
      /^frozen parameters +190,016 /m,
      /^vqa +\{question\}\?<\/a> +.*beams 3.* a$/m,
      /^3 injected states, one connector; into layers 2 to 4; /m,
      /^0-1 +absent\n2 +state 0, from encoder block 1\n3 .*\n4 .*block 3\n5 +unchanged$/m,
    ];
    for (const pattern of expected) assert.match(stdout, pattern);
  });

  it("shows the layers at which visual tokens exist, and the connector that computes them", async () => {
    const visual = copy();
    const range = { startLayer: 1, endLayer: 5, promptForm: "table" } as const;
    const prefix = { kind: "prefix", states: { pool: 2 }, projection: "mlp", norm: true } as const;
    const queries = { kind: "queries", queries: 3, width: 8, layers: 1, heads: 2, depths: 4, norm: false } as const;
    const named = {
      p: { ...range, connector: prefix, promptLength: 0 },
      q: { ...range, connector: queries, promptLength: 2 },
    };
    for (const [name, settings] of Object.entries(named)) {
      const { manifest } = addPatchGraph(await openModelFolder(visual), "image", settings);
      const adapter = initialAdapter(settings, adapterWidths(backbonesOf(manifest, "image")), () => 0.5);
      await installAdapter(visual, name, adapter, ["caption"]);
    }
    const { stdout } = await epalm(["inspect", visual]);
    const layers = (count: number) =>
      `not calibrated: answers have neither familiarity nor confidence\nlayer  visual tokens\n0      absent\n1      ${count} enter\n2-4    ${count}\n5      absent`;
    const ofPrefix =
      "connector prefix: patch states, pool 2, mlp; a norm of the visual tokens; at layers 1 to 4; no soft prompt";
    const ofQueries =
      "connector queries: 3 queries, 1 layers of width 8, 2 heads; patch states of the last 4 blocks; at layers 1 to 4; soft prompt of 2 (table)";
    assert.ok(stdout.includes(`${ofPrefix}\n${layers(4)}`), stdout);
    assert.ok(stdout.includes(`${ofQueries}\n${layers(3)}`), stdout);
    const described = JSON.parse((await epalm(["inspect", visual, "--json"])).stdout);
    assert.equal(described.adapters.q.visualTokens, 3);
    assert.deepEqual(described.adapters.p.settings.connector, prefix);
  });

  it("shows the same as one JSON object", async () => {
    const { stdout } = await epalm(["inspect", model, "--json"]);
    const description = JSON.parse(stdout);
    assert.equal(description.kind, "model");
    assert.equal(description.frozenParameters, 190_016);
    assert.equal(description.verified, false);
    assert.deepEqual(description.adapters.a.plan.stateAt, [null, null, 0, 1, 2, null]);
    const manifest = JSON.parse(readFileSync(join(model, "epalm.json"), "utf8"));
    assert.deepEqual(description.manifest, manifest);
  });

  it("compares checksums with --verify", async () => {
    const { code, stdout } = await epalm(["inspect", model, "--verify"]);
    assert.equal(code, 0);
    assert.match(stdout, /\nall files match the manifest\n$/);

    const damaged = copy();
    const graph = join(damaged, "decoder", "model.onnx");
    const bytes = readFileSync(graph);
    bytes.writeUInt8(bytes.readUInt8(9) ^ 1, 9);
    writeFileSync(graph, bytes);
    const refused = await epalmProcess(["inspect", damaged, "--verify"]);
    assert.deepEqual([refused.code, refused.stdout], [1, ""]);
    assert.match(refused.stderr, /^epalm: .*decoder\/model\.onnx: is damaged: [^\n]*\n$/);
  });

  it("rejects a folder with a file of another size or an invalid manifest", async () => {
    const longer = copy();
    appendFileSync(join(longer, "tokenizer", "tokenizer.json"), " ");
    const size = await epalm(["inspect", longer]);
    assert.equal(size.code, 1);
    assert.match(size.stderr, /^epalm: .*tokenizer\.json: expected \d+ bytes, got \d+\n$/);

    const broken = copy();
    writeFileSync(join(broken, "epalm.json"), "{");
    const json = await epalm(["inspect", broken]);
    assert.equal(json.code, 1);
    assert.match(json.stderr, /^epalm: .*epalm\.json: [^\n]*JSON[^\n]*\n$/);
  });

  it("shows a checkpoint folder's tensors and config", async () => {
    const { code, stdout } = await epalm(["inspect", join(GOLDEN, "decoder")]);
    assert.equal(code, 0);
    assert.match(stdout, /model\.safetensors: safetensors, 100 tensors, 132,384 elements, 529\.5 kB/);
    assert.match(stdout, /"model_type": "opt"/);
    assert.match(stdout, /^model\.decoder\.layers\.0\.fc1\.weight +float32 +\[96, 48\]$/m);
  });

  it("shows the settings of a published adapter, and its contents other than tensors", async () => {
    const { stdout } = await epalm(["inspect", join(GOLDEN, "adapter.pth"), "--json"]);
    const description = JSON.parse(stdout);
    assert.equal(description.format, "torch");
    assert.equal(description.adapter.settings.startLayer, 2);
    assert.equal(description.contents.config.injected_hidden_states, 3);
    assert.equal(description.contents.epoch, 3);
    assert.equal("model" in description.contents, false);
  });

  it("reports the settings that an adapter of only tensors does not contain", async () => {
    const { code, stdout } = await epalm(["inspect", join(GOLDEN, "adapter.safetensors")]);
    assert.equal(code, 0);
    assert.match(stdout, /an adapter whose settings are incomplete: .*injectedStates/);
  });

  it("rejects --verify for a checkpoint", async () => {
    const { code, stderr } = await epalm(["inspect", join(GOLDEN, "decoder"), "--verify"]);
    assert.equal(code, 2);
    assert.match(stderr, /^epalm: --verify: .* has no epalm\.json/);
  });

  it("rejects missing paths and files of other formats", async () => {
    const missing = await epalm(["inspect", "nowhere"]);
    assert.deepEqual([missing.code, missing.stderr], [1, "epalm: nowhere: no such file or folder\n"]);
    const other = await epalm(["inspect", "README.md"]);
    assert.equal(other.code, 1);
    assert.match(other.stderr, /^epalm: README\.md: is neither a safetensors file[^\n]*\n$/);
  });
});
