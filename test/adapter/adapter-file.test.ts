import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { openCase } from "../../bench/conformance/case.js";
import { type GivenSettings, readAdapter, writeAdapter } from "../../src/adapter/adapter-file.js";
import { writeSafetensors } from "../../src/formats/safetensors.js";
import { constantSource, elementCount, type Shape } from "../../src/tensor/tensor.js";

const goldens = "test/fixtures/goldens";
const names = [
  "opt-shared-1token",
  "opt-6states-mlp10",
  "opt-post-norm-projected",
  "opt-causal-perception",
  "llama-shared-1token",
];

/** Settings that a case states for its adapter outside the adapter's files. */
function statedSettings(name: string): Required<GivenSettings> {
  const { settings } = openCase(join(goldens, name), name);
  return {
    injectedStates: settings.injected_hidden_states,
    startLayer: settings.start_layer_idx,
    endLayer: settings.end_layer_idx,
    perceptionSees: settings.perception_sees,
  };
}

describe("adapter files", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "epalm-adapter-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const name of names) {
    it(`are read identically from both public formats: ${name}`, async () => {
      const published = await readAdapter(join(goldens, name, "adapter.pth"));
      const bare = await readAdapter(join(goldens, name, "adapter.safetensors"), statedSettings(name));
      assert.deepEqual(published.settings, bare.settings);
      assert.deepEqual(published.settings, { ...published.settings, ...statedSettings(name) });
      assert.deepEqual(new Map([...published.tensors].sort()), new Map([...bare.tensors].sort()));
    });

    it(`round-trip: ${name}`, async () => {
      const adapter = await readAdapter(join(goldens, name, "adapter.pth"));
      const path = join(folder, `${name}.safetensors`);
      writeAdapter(path, adapter);
      assert.deepEqual(await readAdapter(path), adapter);
    });
  }

  const connectors = "test/fixtures/connectors";
  for (const name of ["prefix-mlp-pool", "prefix-pixel-shuffle", "queries-four-depths"]) {
    it(`round-trip with the settings of a connector: ${name}`, async () => {
      const adapter = await readAdapter(join(connectors, name, "adapter.safetensors"));
      assert.ok(adapter.settings.connector);
      const path = join(folder, `${name}.safetensors`);
      writeAdapter(path, adapter);
      assert.deepEqual(await readAdapter(path), adapter);
    });
  }

  it("with an invalid connector, or settings of another connector, are rejected by their key", async () => {
    const { settings, tensors } = await readAdapter(join(connectors, "queries", "adapter.safetensors"));
    const path = join(folder, "invalid.safetensors");
    const wrong: readonly (readonly [change: object, message: RegExp])[] = [
      [{ connector: { kind: "resampler" } }, /invalid\.safetensors: setting 'connector/],
      [{ connector: { ...settings.connector, heads: 3 } }, /'connector\.width': expected a multiple of 'heads'/],
      [
        { connector: { ...settings.connector, queries: 1e6 } },
        /'connector\.queries': expected an integer from 1 to 1024/,
      ],
      [{ injectedStates: 3 }, /'injectedStates': is not a known key/],
      [{ promptLength: -1 }, /'promptLength': /],
    ];
    for (const [change, message] of wrong) {
      const sources = Array.from(tensors, ([name, { type, shape, data }]) => {
        return [name, constantSource(type, shape, data)] as const;
      });
      writeSafetensors(path, sources, { "epalm.adapter": JSON.stringify({ ...settings, ...change }) });
      await assert.rejects(readAdapter(path), { code: "invalid_adapter", message });
    }
    const given = { injectedStates: 3 };
    await assert.rejects(readAdapter(join(connectors, "queries", "adapter.safetensors"), given), {
      code: "invalid_adapter",
      message: /'injectedStates'/,
    });
  });

  const bare = join(goldens, "opt-shared-1token", "adapter.safetensors");
  const given = { injectedStates: 3, startLayer: 2, endLayer: 5 };
  const refused: [string, string, GivenSettings, RegExp][] = [
    [
      "an unspecified number of states",
      bare,
      { startLayer: 2, endLayer: 5 },
      /setting 'injectedStates': .* must be given/,
    ],
    ["an unspecified first layer", bare, { injectedStates: 3, endLayer: 5 }, /setting 'startLayer': .* must be given/],
    ["an unspecified last layer", bare, { injectedStates: 3, startLayer: 2 }, /setting 'endLayer': .* must be given/],
    ["a layer that is not an integer", bare, { ...given, endLayer: 4.5 }, /setting 'endLayer': .*int/],
    ["a negative layer", bare, { ...given, startLayer: -1 }, /setting 'startLayer': .*at least 0, got -1/],
    ["more states than any encoder has", bare, { ...given, injectedStates: 5000 }, /setting 'injectedStates'/],
    ["an unknown option", bare, { ...given, layers: 3 } as GivenSettings, /setting 'layers': is not a known key/],
    [
      "a number of states that differs from that of the connectors",
      join(goldens, "opt-6states-mlp10", "adapter.safetensors"),
      { ...given, injectedStates: 6 },
      /'injectedStates': the file specifies 3, the option 6/,
    ],
    [
      "a layer that differs from the published config",
      join(goldens, "opt-shared-1token", "adapter.pth"),
      { startLayer: 1 },
      /'startLayer': the file specifies 2, the option 1/,
    ],
    [
      "weights that are not an adapter's",
      join(goldens, "opt-shared-1token", "encoder"),
      given,
      /expected tensors connector\.0\.weight and prompt_module\.prefix_embedding\.0\.weight/,
    ],
  ];
  for (const [what, path, options, message] of refused) {
    it(`are rejected with ${what}`, async () => {
      await assert.rejects(readAdapter(path, options), { code: "invalid_adapter", message });
    });
  }

  const tensors: readonly (readonly [string, Shape])[] = [
    ["connector.0.weight", [4, 2]],
    ["connector.0.bias", [4]],
    ["prompt_module.prefix_embedding.0.weight", [1, 4]],
  ];
  const own = {
    ...given,
    perceptionSees: "itself",
    sharedConnector: true,
    promptLength: 1,
    promptForm: "table",
  };
  const headers: [string, string, RegExp][] = [
    ["invalid JSON", "{", /'epalm\.adapter': .*JSON/],
    ["a value that is not an object", "null", /settings: .*expected an object/],
    ["a missing setting", JSON.stringify({ ...own, promptForm: undefined }), /setting 'promptForm'/],
    ["a wrong setting", JSON.stringify({ ...own, perceptionSees: "nothing" }), /setting 'perceptionSees'/],
    ["an unknown setting", JSON.stringify({ ...own, secret: 1 }), /setting 'secret': is not a known key/],
  ];
  for (const [what, header, message] of headers) {
    it(`are rejected with a header that contains ${what}`, async () => {
      const path = join(folder, "own.safetensors");
      const sources = tensors.map(
        ([name, shape]) => [name, constantSource("float32", shape, new Float32Array(elementCount(shape)))] as const,
      );
      writeSafetensors(path, sources, { "epalm.adapter": header });
      await assert.rejects(readAdapter(path), { code: "invalid_adapter", message });
    });
  }

  it("are reported as not found if they do not exist", async () => {
    await assert.rejects(readAdapter(join(folder, "none.pth")), { code: "not_found" });
  });
});
