import assert from "node:assert/strict";
import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { EncoderBackbone } from "../../src/backbones/backbone.js";
import { encoderGraph } from "../../src/backbones/encoders/encoder-graph.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { Graph } from "../../src/graph/ir.js";
import { preprocessingOf } from "../../src/model/encoder-preprocessing.js";
import { type EncoderChoices, readEncoder } from "../../src/model/read-encoder.js";
import { openSource } from "../../src/model/source-folder.js";
import type { Tensor } from "../../src/tensor/tensor.js";
import { assertClose, golden, statesOf } from "../support/tiny-backbones.js";

const fixtures = "test/fixtures/backbones";
const goldens = "test/fixtures/goldens";

interface Read {
  readonly backbone: EncoderBackbone;
  readonly graph: Graph;
  readonly preprocessing: ReturnType<typeof preprocessingOf>;
}

async function read(path: string, choices: EncoderChoices = {}): Promise<Read> {
  const source = await openSource(path, path);
  const g = new GraphBuilder("encoder");
  const { backbone, weights } = readEncoder(g, source, choices);
  const preprocessing = preprocessingOf(source, backbone, "source", choices.imageSize);
  const graph = encoderGraph(g, backbone);
  weights.finish();
  return { backbone, graph, preprocessing };
}

describe("an encoder in a single weights file", () => {
  it("is read as AST if its tensors have the published names, and gives transformers' states", async () => {
    const { backbone, graph, preprocessing } = await read(join(fixtures, "ast-published", "audioset.pth"), {
      heads: 1,
    });
    assert.deepEqual([backbone.modality, backbone.inputShape], ["audio", [36, 128]]);
    assert.deepEqual(preprocessing, {
      modality: "audio",
      preprocessing: { samplingRate: 16_000, melBins: 128, maxLength: 36, mean: -4.2677393, std: 4.5689974 },
    });
    const states = await statesOf(graph, golden("ast-published", "features"));
    assertClose(states, golden("ast-published", "states"));
  });

  it("is read as TimeSformer if it has time embeddings", async () => {
    const { backbone, preprocessing } = await read(join(goldens, "opt-timesformer", "encoder.pyth"), {
      heads: 4,
    });
    assert.deepEqual([backbone.modality, backbone.inputShape], ["video", [4, 3, 32, 32]]);
    assert.ok(preprocessing.modality === "video");
    assert.equal(preprocessing.preprocessing.frames, 4);
    assert.deepEqual(preprocessing.preprocessing.picture.resize, { mode: "squash", height: 32, width: 32 });
  });

  it("is read as a vision transformer otherwise", async () => {
    const { backbone } = await read(join(fixtures, "vit-timm", "model.safetensors"), { heads: 2 });
    assert.deepEqual([backbone.modality, backbone.architecture], ["image", "vit"]);
  });
});

describe("a video encoder", () => {
  for (const frames of [5, 2]) {
    it(`takes ${frames} frames instead of its own 3, with the nearest time embeddings`, async () => {
      const { backbone, graph } = await read(join(fixtures, "timesformer"), { frames });
      assert.deepEqual(backbone.inputShape, [frames, 3, 16, 16]);
      const states = await statesOf(graph, golden("timesformer", `pixels_${frames}_frames`));
      assertClose(states, golden("timesformer", `states_${frames}_frames`));
    });
  }

  it("takes another number of frames, with VideoMAE's positions for this number", async () => {
    const { backbone, graph } = await read(join(fixtures, "videomae"), { frames: 6 });
    assert.deepEqual(backbone.inputShape, [6, 3, 16, 16]);
    const states = await statesOf(graph, golden("videomae", "pixels_6_frames"));
    assertClose(states, golden("videomae", "states_6_frames"));
  });

  for (const [name, frames] of [
    ["vjepa2", 6],
    ["vjepa2", 1],
    ["vjepa2-classifier", 2],
  ] as const) {
    it(`takes another number of frames, repeated if a tubelet has more: ${name}, ${frames}`, async () => {
      const { backbone, graph } = await read(join(fixtures, name), { frames });
      assert.equal(backbone.inputShape[0], frames);
      const states = await statesOf(graph, golden(name, `pixels_${frames}_frames`));
      assertClose(states, golden(name, `states_${frames}_frames`));
    });
  }

  it("of V-JEPA 2 is recognised by its tensors, which do not suffice", async () => {
    await assert.rejects(read(join(fixtures, "vjepa2", "model.safetensors")), {
      code: "unsupported_architecture",
      message: /^V-JEPA 2: expected a folder with a config\.json/,
    });
  });

  it("averages the states of the frames if it is an image encoder", async () => {
    const { backbone, graph, preprocessing } = await read(join(fixtures, "vit"), {
      modality: "video",
      frames: 2,
    });
    assert.deepEqual([backbone.modality, backbone.inputShape], ["video", [2, 3, 32, 32]]);
    assert.ok(preprocessing.modality === "video" && preprocessing.preprocessing.frames === 2);
    const [pictures, states] = [golden("vit", "pixels"), golden("vit", "states")];
    const [, depth = 0, width = 0] = states.shape;
    const half = depth * width;
    const means = Float32Array.from(
      { length: half },
      (_, at) => (Number(states.data[at]) + Number(states.data[half + at])) / 2,
    );
    // Both images as one video, and the same video reversed: the order of frames does not matter.
    const [first, second] = [pictures.data.subarray(0, 3 * 32 * 32), pictures.data.subarray(3 * 32 * 32)];
    const data = Float32Array.from([first, second, second, first].flatMap((part) => Array.from(part as Float32Array)));
    const found = await statesOf(graph, { type: "float32", shape: [2, 2, 3, 32, 32], data });
    const twice: Tensor = {
      type: "float32",
      shape: [2, depth, width],
      data: Float32Array.from([...means, ...means]),
    };
    assertClose(found, twice);
  });

  it("takes 8 frames by default", async () => {
    const { backbone } = await read(join(fixtures, "vit"), { modality: "video" });
    assert.deepEqual(backbone.inputShape, [8, 3, 32, 32]);
  });
});

describe("the input size of an encoder whose positions can be computed for any size", () => {
  const folder = mkdtempSync(join(tmpdir(), "epalm-encoders-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** DINOv2's files on the hub have positions for a larger size than that of their preprocessing. */
  const target = join(folder, "dinov2");
  cpSync(join(fixtures, "dinov2"), target, { recursive: true });
  const processor = {
    image_processor_type: "BitImageProcessor",
    size: { shortest_edge: 28 },
    crop_size: { height: 24, width: 24 },
    resample: 3,
    image_mean: [0.485, 0.456, 0.406],
    image_std: [0.229, 0.224, 0.225],
  };
  writeFileSync(join(target, "preprocessor_config.json"), JSON.stringify(processor));
  const imageOf = ({ preprocessing }: Read) => {
    assert.ok(preprocessing.modality === "image");
    return preprocessing.preprocessing;
  };

  it("is that of its preprocessing", async () => {
    const found = await read(target);
    assert.deepEqual(found.backbone.inputShape, [3, 24, 24]);
    assert.deepEqual(imageOf(found).resize, { mode: "shortest-edge", length: 28 });
    assertClose(await statesOf(found.graph, golden("dinov2", "pixels_24")), golden("dinov2", "states_24"));
  });

  it("can be chosen, and then the preprocessing follows", async () => {
    const found = await read(target, { imageSize: 54 });
    assert.deepEqual(imageOf(found).size, { height: 54, width: 54 });
    assert.deepEqual(imageOf(found).resize, { mode: "shortest-edge", length: 63 });
    assertClose(await statesOf(found.graph, golden("dinov2", "pixels_54")), golden("dinov2", "states_54"));
  });

  it("applies to the frames of a video", async () => {
    const { backbone, preprocessing } = await read(target, { imageSize: 54, modality: "video", frames: 2 });
    assert.deepEqual(backbone.inputShape, [2, 3, 54, 54]);
    assert.ok(preprocessing.modality === "video");
    assert.deepEqual(preprocessing.preprocessing.picture.size, { height: 54, width: 54 });
  });

  it("is that of the config if no preprocessing is specified, which is then the published one", async () => {
    const dinov2 = await read(join(fixtures, "dinov2"));
    assert.deepEqual(dinov2.backbone.inputShape, [3, 42, 42]);
    assert.deepEqual(imageOf(dinov2).resize, { mode: "shortest-edge", length: 48 });
    const dinov3 = imageOf(await read(join(fixtures, "dinov3")));
    assert.deepEqual([dinov3.resample, dinov3.resizedValues], ["bilinear", "floats"]);
    const { preprocessing } = await read(join(fixtures, "videomae"));
    assert.ok(preprocessing.modality === "video");
    const { resize, resample, mean } = preprocessing.preprocessing.picture;
    assert.deepEqual(
      { resize, resample, mean },
      {
        resize: { mode: "shortest-edge", length: 16 },
        resample: "bilinear",
        mean: [0.485, 0.456, 0.406],
      },
    );
  });

  for (const [name, imageSize, message] of [
    ["dinov2", 25, /^imageSize: expected a multiple of the patch size, 6, got 25/],
    ["dinov3", 30, /^imageSize: expected a multiple of the patch size, 4, got 30/],
    ["dinov2", 1.5, /^imageSize: expected an integer from 1/],
    ["vit", 32, /^imageSize: expected only with an encoder whose positions can be computed/],
  ] as const) {
    it(`cannot be ${imageSize} for ${name}`, async () => {
      await assert.rejects(read(join(fixtures, name), { imageSize }), { code: "invalid_option", message });
    });
  }
});

describe("preprocessor_config.json", () => {
  const folder = mkdtempSync(join(tmpdir(), "epalm-encoders-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** A copy of a fixture with the given preprocessor config. */
  function prepared(name: string, config: object, file = "preprocessor_config.json"): string {
    const target = mkdtempSync(join(folder, `${name}-`));
    cpSync(join(fixtures, name), target, { recursive: true });
    writeFileSync(join(target, file), JSON.stringify(config));
    return target;
  }

  /** The config of google/siglip2-base-patch16-224, except for the size. */
  const ofSiglip2 = {
    image_processor_type: "SiglipImageProcessor",
    do_convert_rgb: null,
    do_normalize: true,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.5, 0.5, 0.5],
    processor_class: "SiglipProcessor",
    resample: 2,
    size: { height: 26, width: 26 },
  };
  const siglip2 = {
    size: { height: 26, width: 26 },
    resize: { mode: "squash", height: 26, width: 26 },
    resample: "bilinear",
    rescaleFactor: 1 / 255,
    mean: [0.5, 0.5, 0.5],
    std: [0.5, 0.5, 0.5],
  };

  it("determines SigLIP 2's preprocessing", async () => {
    const { preprocessing } = await read(prepared("siglip", ofSiglip2));
    assert.deepEqual(preprocessing, { modality: "image", preprocessing: siglip2 });
  });

  it("is read from the file for all processors that transformers 5 writes", async () => {
    const target = prepared("siglip", {});
    rmSync(join(target, "preprocessor_config.json"));
    writeFileSync(join(target, "processor_config.json"), JSON.stringify({ image_processor: ofSiglip2 }));
    const { preprocessing } = await read(target);
    assert.deepEqual(preprocessing, { modality: "image", preprocessing: siglip2 });
  });

  it("is not needed for SigLIP, whose values lie between -1 and 1", async () => {
    const { preprocessing } = await read(join(fixtures, "siglip"));
    assert.deepEqual(preprocessing, { modality: "image", preprocessing: { ...siglip2, resample: "bicubic" } });
  });

  it("is found in the config of open_clip, whose weights have another name", async () => {
    const target = prepared("clip", {});
    renameSync(join(target, "model.safetensors"), join(target, "open_clip_model.safetensors"));
    for (const name of ["config.json", "preprocessor_config.json"]) rmSync(join(target, name));
    const vision_cfg = { width: 40, head_width: 8, layers: 3, image_size: 40, patch_size: 6 };
    const preprocess_cfg = { mean: [0.4, 0.5, 0.6], std: [0.2, 0.2, 0.2], resize_mode: "squash" };
    const config = { model_cfg: { quick_gelu: true, vision_cfg }, preprocess_cfg };
    writeFileSync(join(target, "open_clip_config.json"), JSON.stringify(config));
    const { preprocessing, graph } = await read(target);
    const square = { height: 40, width: 40 };
    assert.deepEqual(preprocessing.preprocessing, {
      size: square,
      resize: { mode: "squash", ...square },
      resample: "bicubic",
      rescaleFactor: 1 / 255,
      mean: [0.4, 0.5, 0.6],
      std: [0.2, 0.2, 0.2],
    });
    assertClose(await statesOf(graph, golden("clip", "pixels")), golden("clip", "states"));
  });

  it("of Whisper must have as many bands and frames as the encoder", async () => {
    const config = { feature_extractor_type: "WhisperFeatureExtractor", feature_size: 80, chunk_length: 30 };
    await assert.rejects(read(prepared("whisper", config)), {
      code: "invalid_checkpoint",
      message: /audio is preprocessed to 3000 x 80 features, but the encoder takes 14 x 10/,
    });
    await assert.rejects(read(prepared("whisper", { ...config, hop_length: 320 })), {
      code: "unsupported_architecture",
      message: /'hop_length'/,
    });
  });

  /** The config of facebook/timesformer-base-finetuned-k400, except for the size. */
  const ofVideos = {
    image_processor_type: "VideoMAEImageProcessor",
    do_resize: true,
    size: { shortest_edge: 16 },
    resample: 2,
    do_center_crop: true,
    crop_size: { height: 16, width: 16 },
    do_normalize: true,
    image_mean: [0.45, 0.45, 0.45],
    image_std: [0.225, 0.225, 0.225],
  };

  it("determines the preprocessing of video frames", async () => {
    const { preprocessing } = await read(prepared("timesformer", ofVideos));
    assert.deepEqual(preprocessing, {
      modality: "video",
      preprocessing: {
        frames: 3,
        picture: {
          size: { height: 16, width: 16 },
          resize: { mode: "shortest-edge", length: 16 },
          resample: "bilinear",
          rescaleFactor: 1 / 255,
          mean: [0.45, 0.45, 0.45],
          std: [0.225, 0.225, 0.225],
        },
      },
    });
  });

  it("of V-JEPA 2 resizes for its crop, whatever size the file states", async () => {
    const processor = { crop_size: { height: 24, width: 24 }, size: { shortest_edge: 40 }, resample: 3 };
    const stated = { video_processor_type: "VJEPA2VideoProcessor", do_pad: null, image_std: [0.2, 0.2, 0.2] };
    const own = prepared("vjepa2", { ...processor, ...stated }, "video_preprocessor_config.json");
    const joint = { video_processor: { ...processor, ...stated } };
    for (const target of [own, prepared("vjepa2", joint, "processor_config.json")]) {
      const { preprocessing } = await read(target);
      assert.deepEqual(preprocessing.preprocessing, {
        frames: 4,
        picture: {
          size: { height: 24, width: 24 },
          resize: { mode: "shortest-edge", length: 27 },
          resample: "bicubic",
          rescaleFactor: 1 / 255,
          mean: [0.485, 0.456, 0.406],
          std: [0.2, 0.2, 0.2],
        },
      });
    }
    const { preprocessing } = await read(join(fixtures, "vjepa2"));
    assert.ok(preprocessing.modality === "video");
    const { resize, resample, mean } = preprocessing.preprocessing.picture;
    assert.deepEqual([resize, resample, mean[0]], [{ mode: "shortest-edge", length: 27 }, "bilinear", 0.485]);
  });

  it("of a video names the processors that are known", async () => {
    const config = { video_processor_type: "Qwen2VLVideoProcessor" };
    await assert.rejects(read(prepared("vjepa2", config, "video_preprocessor_config.json")), {
      code: "unsupported_architecture",
      message: /'video_processor_type': expected the processor of .*VJEPA2.*, got Qwen2VLVideoProcessor/,
    });
  });

  it("determines the preprocessing of audio", async () => {
    const config = {
      feature_extractor_type: "ASTFeatureExtractor",
      max_length: 40,
      num_mel_bins: 32,
      mean: -6,
      std: 5,
    };
    const { preprocessing } = await read(prepared("ast", config));
    assert.deepEqual(preprocessing.preprocessing, {
      samplingRate: 16_000,
      melBins: 32,
      maxLength: 40,
      mean: -6,
      std: 5,
    });
  });

  const misfits: readonly (readonly [name: string, object, RegExp])[] = [
    [
      "timesformer",
      { ...ofVideos, size: { shortest_edge: 32 }, crop_size: 32 },
      /images are preprocessed to 32 x 32, but the encoder takes 16 x 16/,
    ],
    [
      "ast",
      { max_length: 1024, num_mel_bins: 32 },
      /audio is preprocessed to 1024 x 32 features, but the encoder takes 40 x 32/,
    ],
  ];
  for (const [name, config, message] of misfits) {
    it(`is rejected if its size is not the encoder's: ${name}`, async () => {
      await assert.rejects(read(prepared(name, config)), { code: "invalid_checkpoint", message });
    });
  }
});

describe("choices that a checkpoint does not allow", () => {
  const cases: readonly (readonly [name: string, EncoderChoices, RegExp])[] = [
    ["vit", { modality: "audio" }, /vit: expected an encoder for audio, got vit, which takes image/],
    ["ast", { modality: "image" }, /ast: expected an encoder for image, got ast, which takes audio/],
    ["ast", { modality: "video" }, /ast: expected an encoder for video, got ast, which takes audio/],
    ["timesformer", { modality: "image" }, /expected an encoder for image, got timesformer/],
    ["vit", { frames: 4 }, /^frames: expected only with a video encoder, got an image encoder/],
    ["ast", { frames: 4 }, /^frames: expected only with a video encoder, got an audio encoder/],
    ["videomae", { frames: 5 }, /^frames: expected a multiple of the tubelet size, 2, got 5/],
    ["vjepa2", { frames: 5 }, /^frames: expected a multiple of the tubelet size, 2, got 5/],
    ["timesformer", { frames: 0 }, /^frames: .* got 0/],
    ["timesformer", { frames: 257 }, /^frames: .*256.* got 257/],
    ["vit", { modality: "video", frames: 1.5 }, /^frames: .* got 1\.5/],
  ];
  for (const [name, choices, message] of cases) {
    it(`are rejected: ${name} with ${JSON.stringify(choices)}`, async () => {
      await assert.rejects(read(join(fixtures, name), choices), { code: "invalid_option", message });
    });
  }
});

describe("the golden's features", () => {
  it("have the size that the encoder's files specify", async () => {
    const { preprocessing } = await read(join(goldens, "ast", "encoder"));
    const features = openSafetensors(join(goldens, "ast", "golden.safetensors")).tensors.get("input_values");
    assert.ok(preprocessing.modality === "audio");
    const { maxLength, melBins } = preprocessing.preprocessing;
    assert.deepEqual(features?.shape, [1, maxLength, melBins]);
  });
});
