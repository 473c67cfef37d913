import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { encoderGraph, encoderInputs } from "../src/backbones/encoders/encoder-graph.js";
import { median } from "../src/cli/measure/median.js";
import { GraphBuilder } from "../src/graph/builder.js";
import { writeOnnx } from "../src/graph/onnx-writer.js";
import { quantizeGraph } from "../src/graph/quantize.js";
import { readEncoder } from "../src/model/read-encoder.js";
import { type Feeds, openSession, type Session } from "../src/runtime/session.js";
import { elementCount, type Shape } from "../src/tensor/tensor.js";
import { sourceOf } from "../test/support/read-tiny-encoder.js";
import type { Context, Measurement } from "./measurement.js";
import { type PublicShape, publicEncoders, publicModel } from "./public-shapes.js";
import type { Table } from "./table.js";

const ROUNDS = 5;
const MB = 1e6;

/** Runs each public encoder in int8 in turn with the first one, because the machine's speed changes over minutes. */
export const encoders: Measurement = {
  summary: "size and time of public encoders in int8, compared with ViT-B/16",
  async run(context) {
    const [reference, ...others] = publicEncoders as [PublicShape, ...PublicShape[]];
    const compared = await openEncoder(context, reference);
    const rows: Table["rows"][number][] = [];
    try {
      rows.push(rowOf(reference, compared, await timesOf(compared, compared)));
      for (const shape of others) {
        context.say(`measuring: ${shape.hub}`);
        const opened = await openEncoder(context, shape);
        rows.push(rowOf(shape, opened, await timesOf(opened, compared)));
        await opened.session.close();
      }
    } finally {
      await compared.session.close();
    }
    return [
      {
        title: "encoders: one medium in int8, without decoding and resizing",
        columns: [
          { key: "hub", title: "shape of" },
          { key: "input", title: "input" },
          { key: "megabytes", title: "MB" },
          { key: "milliseconds", title: "ms" },
          { key: "ratio", title: "over ViT-B/16", digits: 2 },
          { key: "license", title: "license" },
        ],
        rows,
        notes: [`random weights; medians of ${ROUNDS} runs in turn with ViT-B/16, which is timed anew for each row`],
      },
    ];
  },
};

interface OpenEncoder {
  readonly session: Session;
  readonly feeds: Feeds;
  /** With the batch axis. */
  readonly inputShape: Shape;
  readonly bytes: number;
}

async function openEncoder(context: Context, shape: PublicShape): Promise<OpenEncoder> {
  const { checkpoint, config } = publicModel(shape);
  const g = new GraphBuilder("encoder");
  const { backbone } = readEncoder(g, sourceOf(checkpoint, config), {});
  const folder = mkdtempSync(join(context.folder, "encoder-"));
  try {
    const path = join(folder, "encoder.onnx");
    const files = writeOnnx(quantizeGraph(encoderGraph(g, backbone), { precision: "int8" }), path);
    const inputShape = [1, ...backbone.inputShape];
    const data = new Float32Array(elementCount(inputShape)).map((_, index) => Math.sin(index));
    return {
      session: await openSession(path),
      feeds: { [encoderInputs[backbone.modality]]: { type: "float32", shape: inputShape, data } },
      inputShape,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Milliseconds of an encoder and of the one it is compared with, in turn. The first runs of both do not count. */
async function timesOf(opened: OpenEncoder, compared: OpenEncoder): Promise<{ own: number; compared: number }> {
  const times = { own: [] as number[], compared: [] as number[] };
  for (let round = 0; round <= ROUNDS; round++) {
    times.own.push(await timeOf(opened));
    times.compared.push(await timeOf(compared));
  }
  return { own: median(times.own.slice(1)), compared: median(times.compared.slice(1)) };
}

async function timeOf({ session, feeds }: OpenEncoder): Promise<number> {
  const started = performance.now();
  await session.run(feeds, ["cls_states"]);
  return performance.now() - started;
}

function rowOf(
  { hub, license }: PublicShape,
  { inputShape, bytes }: OpenEncoder,
  times: { own: number; compared: number },
) {
  return {
    hub,
    input: inputShape.slice(1).join(" x "),
    megabytes: bytes / MB,
    milliseconds: times.own,
    ratio: times.own / times.compared,
    license,
  };
}
