import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type CascadeSource, cascade, requireMae, serverDepth, stagesOf } from "../../src/fedmae/cascade.js";
import { cascadeModes, maeConfigOf } from "../../src/fedmae/config.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { initialMae } from "../../src/training/encoder/initial-mae.js";
import { tinyConfig } from "../support/tiny-clients.js";

/** A masked autoencoder in which all numbers of a tensor are equal: the index of its block plus `value`. */
function source(
  path: string,
  blocks: number,
  value: number,
  model: Parameters<typeof tinyConfig>[0]["model"] = {},
): CascadeSource {
  const { imageSize = 16, patchSize = 8, width = 16, heads = 2, decoderWidth = 16, decoderHeads = 2, inner } = model;
  const sizes = { imageSize, patchSize, width, heads, decoderWidth, decoderHeads, ...(inner && { inner }) };
  const config = maeConfigOf(tinyConfig({ model: sizes, clients: { path: "x", count: 1 } }), blocks);
  const tensors = Array.from(initialMae(config, 0), ([name, { shape, data }]): [string, Tensor] => {
    const [, block = "0"] = /^blocks\.(\d+)\./.exec(name) ?? [];
    return [name, { type: "float32", shape, data: new Float32Array(data.length).fill(value + Number(block)) }];
  });
  return { path, config, tensors: new Map(tensors) };
}

function withoutDecoder({ path, config, tensors }: CascadeSource): CascadeSource {
  const encoder = Array.from(tensors).filter(([name]) => !/^(decoder_|mask_token)/.test(name));
  return { path, config, tensors: new Map(encoder) };
}

function first(tensors: ReadonlyMap<string, Tensor>, name: string): number {
  return Number(tensors.get(name)?.data[0]);
}

/** The value of each block of an encoder. */
function blockValues({ config, tensors }: Pick<CascadeSource, "config" | "tensors">): number[] {
  return Array.from({ length: config.num_hidden_layers }, (_, block) =>
    first(tensors, `blocks.${block}.attn.qkv.weight`),
  );
}

const names = Array.from(source("three", 3, 0).tensors.keys());

describe("stagesOf", () => {
  it("parallel: each client has one block of the server and trains all its tensors", () => {
    const [stage, ...others] = stagesOf("parallel", 3);
    assert.equal(others.length, 0);
    assert.equal(serverDepth("parallel", 3), 3);
    for (const client of [0, 1, 2, 3, 4]) {
      const assignment = stage?.assignment(client);
      assert.equal(assignment?.block, client % 3);
      assert.equal(assignment?.depth, 1);
      for (const name of names) {
        const [, block] = /^blocks\.(\d+)\./.exec(name) ?? [];
        const given = assignment?.toClient(name);
        if (block === undefined) assert.equal(given, name);
        else if (Number(block) !== client % 3) assert.equal(given, undefined, name);
        else assert.equal(given, name.replace(/\d+/, "0"));
        if (given === undefined) continue;
        assert.equal(assignment?.toServer(given), name);
        assert.ok(assignment?.isTrained(given));
      }
    }
  });

  it("repeat: all clients train the only block of the server", () => {
    const [stage, ...others] = stagesOf("repeat", 3);
    assert.equal(others.length, 0);
    assert.equal(serverDepth("repeat", 3), 1);
    const oneBlock = names.filter((name) => !/^blocks\.[12]\./.test(name));
    for (const client of [0, 1, 5]) {
      const assignment = stage?.assignment(client);
      assert.deepEqual([assignment?.block, assignment?.depth], [0, 1]);
      for (const name of oneBlock) {
        assert.equal(assignment?.toClient(name), name);
        assert.equal(assignment?.toServer(name), name);
        assert.ok(assignment?.isTrained(name));
      }
    }
  });

  it("greedy: each stage trains its block on those below, and only the first one the embedding", () => {
    const stages = stagesOf("greedy", 3);
    assert.deepEqual(
      stages.map(({ index }) => index),
      [0, 1, 2],
    );
    for (const { index, assignment: assign } of stages) {
      const assignment = assign(4);
      assert.deepEqual([assignment.block, assignment.depth], [index, index + 1]);
      for (const name of names) {
        const [, block] = /^blocks\.(\d+)\./.exec(name) ?? [];
        const isAbove = block !== undefined && Number(block) > index;
        assert.equal(assignment.toClient(name), isAbove ? undefined : name);
        if (isAbove) continue;
        assert.equal(assignment.toServer(name), name);
        const isEmbedding = name.startsWith("patch_embed.") || name === "cls_token";
        const expected = block !== undefined ? Number(block) === index : index === 0 || !isEmbedding;
        assert.equal(assignment.isTrained(name), expected, name);
      }
      for (const name of ["norm.weight", "mask_token", "decoder_embed.bias", "decoder_blocks.0.norm1.bias"]) {
        assert.ok(assignment.isTrained(name), name);
      }
    }
  });

  it("full: all clients train all blocks together", () => {
    const [stage, ...others] = stagesOf("full", 3);
    assert.equal(others.length, 0);
    assert.equal(serverDepth("full", 3), 3);
    for (const client of [0, 4]) {
      const assignment = stage?.assignment(client);
      assert.equal(assignment?.depth, 3);
      for (const name of names) {
        assert.deepEqual([assignment?.toClient(name), assignment?.toServer(name)], [name, name]);
        assert.ok(assignment?.isTrained(name));
      }
    }
  });

  for (const mode of cascadeModes) {
    it(`${mode}: every tensor of the server belongs to a client`, () => {
      const kept = names.filter((name) => mode !== "repeat" || !/^blocks\.[12]\./.test(name));
      const sent = new Set(
        stagesOf(mode, 3).flatMap(({ assignment }) =>
          [0, 1, 2].flatMap((client) => kept.filter((name) => assignment(client).toClient(name) !== undefined)),
        ),
      );
      assert.deepEqual(Array.from(sent).sort(), kept.slice().sort());
    });
  }
});

describe("cascade", () => {
  it("stacks all blocks of the checkpoints in the given order", () => {
    const stacked = cascade([source("b", 1, 20), source("a", 2, 10), source("c", 1, 5)]);
    assert.deepEqual(blockValues(stacked), [20, 10, 11, 5]);
    assert.equal(Array.from(stacked.tensors.keys()).filter((name) => /^blocks\.\d+\.norm1\.bias/.test(name)).length, 4);
  });

  it("repeats one checkpoint up to the depth", () => {
    assert.deepEqual(blockValues(cascade([source("a", 1, 3)], 3)), [3, 3, 3]);
    assert.deepEqual(blockValues(cascade([source("a", 2, 3)], 5)), [3, 4, 3, 4, 3]);
    assert.deepEqual(blockValues(cascade([source("a", 2, 3)])), [3, 4]);
  });

  it("averages the tensors outside blocks with equal weights", () => {
    const { tensors } = cascade([source("a", 1, 1), source("b", 3, 4)]);
    for (const name of ["patch_embed.proj.weight", "cls_token", "norm.bias", "decoder_pred.weight", "mask_token"]) {
      assert.equal(first(tensors, name), 2.5, name);
    }
  });

  it("has a decoder only if all checkpoints have one", () => {
    const sources = [source("a", 1, 1), withoutDecoder(source("b", 1, 2))];
    for (const given of [sources, sources.toReversed()]) {
      const { tensors } = cascade(given);
      assert.deepEqual(
        Array.from(tensors.keys()).filter((name) => /^(decoder_|mask_token)/.test(name)),
        [],
      );
    }
  });

  it("rejects a depth that differs from the number of blocks, and an empty list", () => {
    assert.throws(() => cascade([source("a", 1, 1), source("b", 1, 2)], 3), {
      code: "invalid_option",
      message: /^depth: expected 2, the number of blocks in the checkpoints, got 3$/,
    });
    assert.throws(() => cascade([]), { code: "invalid_option", message: /at least one checkpoint/ });
  });

  const differing: readonly (readonly [key: string, model: Parameters<typeof source>[3], message: RegExp])[] = [
    ["image_size", { imageSize: 24 }, /expected 16 as in one\/mae, got 24$/],
    ["patch_size", { patchSize: 4 }, /expected 8 as in one\/mae, got 4$/],
    ["hidden_size", { width: 24 }, /expected 16 as in one\/mae, got 24$/],
    ["num_attention_heads", { heads: 4 }, /expected 2 as in one\/mae, got 4$/],
    ["intermediate_size", { inner: 48 }, /expected 64 as in one\/mae, got 48$/],
    ["decoder_embed.weight", { decoderWidth: 24 }, /expected \[16,16\] as in one\/mae, got \[24,16\]$/],
  ];
  for (const [key, model, message] of differing) {
    it(`rejects a different ${key} and names checkpoint and key`, () => {
      assert.throws(
        () => cascade([source("one/mae", 1, 1), source("two/mae", 1, 1, model)]),
        (error: Error) => {
          assert.ok(error.message.startsWith(`two/mae: ${key}: `), error.message);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  for (const [key, value] of [
    ["hidden_act", "relu"],
    ["qkv_bias", false],
  ] as const) {
    it(`rejects a different ${key}, which no shape reveals`, () => {
      const other = source("two/mae", 1, 1);
      const changed = { ...other, config: { ...other.config, [key]: value } };
      assert.throws(() => cascade([source("one/mae", 1, 1), changed]), {
        code: "invalid_option",
        message: new RegExp(`^two/mae: ${key}: `),
      });
    });
  }
});

describe("requireMae", () => {
  it("accepts a model with a decoder and names one without", () => {
    const given = source("whole", 1, 1);
    assert.equal(requireMae(given).decoder_hidden_size, 16);
    const { decoder_hidden_size: _none, ...config } = requireMae(given);
    assert.throws(() => requireMae({ ...given, path: "part", config: { ...config, model_type: "vit" } }), {
      code: "invalid_checkpoint",
      message: /^part: has no decoder/,
    });
  });
});
