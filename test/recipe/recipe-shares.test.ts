import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AdapterSettings, adapterShapes } from "../../src/adapter/adapter.js";
import type { AdapterWidths } from "../../src/adapter/adapter-widths.js";
import { elementCount } from "../../src/tensor/tensor.js";

/** Numbers of parameters and widths of the public checkpoints. */
const encoders = {
  "ViT-B/16": { parameters: 85_798_656, width: 768 },
  "ViT-L/16": { parameters: 303_301_632, width: 1024 },
  AST: { parameters: 86_189_568, width: 768 },
  TimeSformer: { parameters: 121_258_752, width: 768 },
};
const decoders = {
  "OPT-2.7B": { parameters: 2_651_596_800, width: 2560 },
  "OPT-6.7B": { parameters: 6_658_473_984, width: 4096 },
};

const settings: AdapterSettings = {
  injectedStates: 6,
  startLayer: 19,
  endLayer: 31,
  sharedConnector: true,
  promptLength: 10,
  promptForm: "table",
  perceptionSees: "everything",
};

function trainedShare(
  encoder: { parameters: number; width: number },
  decoder: { parameters: number; width: number },
  chosen: AdapterSettings,
): number {
  const widths: AdapterWidths = { encoder: encoder.width, decoder: decoder.width, embedding: decoder.width };
  const shapes = Array.from(adapterShapes(chosen, widths).values(), elementCount);
  const trained = shapes.reduce((sum, count) => sum + count, 0);
  return trained / (trained + encoder.parameters + decoder.parameters);
}

describe("the share of trained parameters", () => {
  for (const [encoderName, encoder] of Object.entries(encoders)) {
    for (const [decoderName, decoder] of Object.entries(decoders)) {
      it(`is under 1 % for ${encoderName} and ${decoderName}, with every form of the connector and the soft prompt`, () => {
        for (const sharedConnector of [true, false]) {
          for (const promptForm of ["table", "mlp"] as const) {
            const share = trainedShare(encoder, decoder, { ...settings, sharedConnector, promptForm });
            assert.ok(share > 0 && share < 0.01, `${sharedConnector} ${promptForm}: ${share}`);
          }
        }
      });
    }
  }

  it("is 0.07 % in the leanest published setting", () => {
    const share = trainedShare(encoders["ViT-B/16"], decoders["OPT-2.7B"], { ...settings, promptLength: 1 });
    assert.equal((share * 100).toFixed(2), "0.07");
  });
});
