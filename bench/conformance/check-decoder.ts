import { join } from "node:path";
import { decoderGraph } from "../../src/adapter/decoder-graph.js";
import { ParameterReader } from "../../src/backbones/parameters.js";
import { decoderArchitecture } from "../../src/backbones/registry.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { Weights } from "../../src/formats/weights.js";
import { Decoder } from "../../src/generation/decoder.js";
import { Engine } from "../../src/generation/engine.js";
import { EMPTY_TIME, KeyValueCache } from "../../src/generation/key-value-cache.js";
import { parseGenerationOptions } from "../../src/generation/options.js";
import { DecodingRequest } from "../../src/generation/request.js";
import { stepInputs } from "../../src/generation/step-inputs.js";
import { createStrategy } from "../../src/generation/strategies/create-strategy.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { readJson } from "../../src/model/source-folder.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { type Check, closeTo, sameTokens } from "./compare.js";
import { openGolden } from "./golden.js";
import { openSession } from "./open-session.js";

/**
 * Compares a decoder in its public form with transformers: the logits of `input_ids` [B, T] and, if the file has them,
 * the tokens `greedy` [B, N] that follow each text, generated from the cache in one batch.
 */
export async function checkDecoder(folder: string): Promise<Check[]> {
  const golden = openGolden(folder);
  const config = readJson(join(folder, "config.json"));
  const architecture = decoderArchitecture(String(config?.model_type), folder);
  const checkpoint = openSafetensors(join(folder, "model.safetensors"));
  const g = new GraphBuilder("decoder");
  const weights = new Weights(checkpoint, { rename: architecture.rename });
  const backbone = architecture.build(config, new ParameterReader(g, weights));
  const graph = decoderGraph(g, backbone);
  weights.finish();
  const session = await openSession(encodeOnnx(graph));
  try {
    const texts = rowsOf(golden.tensor("input_ids"));
    const scheduled = texts.map((text) => ({
      sequence: { context: {}, text, cached: 0 },
      active: true,
      needs: { kind: "targets", tokens: text } as const,
    }));
    const { feeds } = stepInputs(scheduled, backbone.shape, EMPTY_TIME, 1);
    const cache = new KeyValueCache(backbone.shape).feeds(0, texts.length, true);
    const { logits } = await session.run({ ...feeds, ...cache }, ["logits"]);
    const checks = [closeTo("logits", logits as Tensor, golden.tensor("logits"))];
    if (!golden.has("greedy")) return checks;
    const followers = rowsOf(golden.tensor("greedy"));
    const engine = new Engine(new Decoder(session, backbone.shape));
    const options = parseGenerationOptions({ maxNewTokens: followers[0]?.length ?? 1 });
    const written = await Promise.all(
      texts.map(async (text) => {
        const strategy = createStrategy(options, { eosTokenIds: new Set(), decode: () => "" });
        await engine.run(new DecodingRequest({}, text, strategy));
        return strategy.hypotheses()[0]?.tokens ?? [];
      }),
    );
    return [...checks, sameTokens("greedy tokens", written.flat(), followers.flat())];
  } finally {
    await session.close();
    checkpoint.close();
    golden.close();
  }
}

function rowsOf(tensor: Tensor): number[][] {
  const [rows = 0, length = 0] = tensor.shape;
  return Array.from({ length: rows }, (_, row) =>
    Array.from(tensor.data.slice(row * length, (row + 1) * length) as BigInt64Array, Number),
  );
}
