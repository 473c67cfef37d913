import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { load, loadAdapter } from "../../../src/index.js";
import { temporaryFolder } from "../../support/temporary-folder.js";
import { buildTinyVlm, changedVlm, type Json, VLM_PHOTO } from "../../support/tiny-vlm.js";

describe("a vision-language model as a model folder", () => {
  const folder = temporaryFolder();

  it("has an ordinary adapter, prompts that can be edited, and the chat template", async () => {
    const output = join(folder, "smolvlm");
    const manifest = await buildTinyVlm("smolvlm", output);
    const { settings, tensors } = await loadAdapter({ path: output, manifest }, "vlm");
    assert.deepEqual(settings.connector, {
      kind: "prefix",
      states: { pixelShuffle: 2 },
      projection: "linear",
      norm: false,
    });
    assert.deepEqual([...tensors.keys()], ["connector.0.weight", "connector.0.bias"]);
    const image = "<fake_token_around_image><global-img>{medium}<fake_token_around_image>";
    assert.equal(manifest.tasks.vqa.prompt, `<|im_start|>User:${image}{text}<end_of_utterance>\nAssistant:`);
    assert.match(manifest.tasks.caption.prompt, /\{medium\}.*Describe this image/);
    assert.equal(manifest.tasks.vqa.answerPrefix, " ");
    assert.equal(manifest.conversation?.image, image);
    assert.deepEqual(manifest.encoder.preprocessing, {
      size: { height: 32, width: 32 },
      resize: { mode: "squash", height: 32, width: 32, longestEdgeFirst: 90 },
      resample: "lanczos",
      rescaleFactor: 1 / 255,
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.5, 0.5],
    });
  });

  it("keeps only the blocks of the encoder before the states that the projector takes", async () => {
    const manifest = await buildTinyVlm("llava-clip-llama", join(folder, "clip"));
    assert.deepEqual([manifest.encoder.depth, manifest.encoder.patches?.normed], [2, false]);
    assert.deepEqual(manifest.encoder.patches?.columns, 4);
  });

  it("ends answers with the end of the template's turn, and then with the tokenizer's and the model's", async () => {
    const manifest = await buildTinyVlm("llava-siglip-qwen2", join(folder, "ends"));
    const tokens = manifest.decoder.endTokens;
    assert.equal(new Set(tokens).size, tokens.length);
    assert.match(
      manifest.tasks.vqa.prompt,
      /^<\|im_start\|>user\n\{medium\}\n\{text\}<\|im_end\|>\n<\|im_start\|>assistant\n$/,
    );
  });

  it("has the prompts of a template that takes contents as strings, or of none that it can use", async () => {
    const written = async (name: string, chat_template: string) => {
      const change = (json: Json) => Object.assign(json, { chat_template });
      const source = changedVlm("llava-siglip-qwen2", join(folder, name), change, "tokenizer_config.json");
      return buildTinyVlm(source, join(folder, `${name}-model`));
    };
    const strings = "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] | trim }}{% endfor %}";
    const asStrings = await written("strings", strings);
    assert.equal(asStrings.conversation?.content, "text");
    assert.equal(asStrings.tasks.vqa.prompt, "[user]{medium}\n{text}");
    const textOnly = await written("text-only", "{{ raise_exception('no images') }}");
    assert.equal(textOnly.conversation, undefined);
    assert.equal(textOnly.tasks.vqa.prompt, "USER: {medium}\n{text} ASSISTANT:");
  });

  it("asks questions as they were given, and captions without one", async () => {
    const output = join(folder, "nanovlm");
    await buildTinyVlm("nanovlm", output);
    const model = await load(output, { threads: 1, checksums: false });
    try {
      const medium = await model.encode(VLM_PHOTO);
      const options = { maxNewTokens: 4 };
      const [mark, none] = await Promise.all([
        medium.vqa("What is in the picture?", options),
        medium.vqa("What is in the picture", options),
      ]);
      assert.equal(mark.usage.promptTokens, none.usage.promptTokens + 1);
      const { text } = await medium.caption(options);
      assert.equal(typeof text, "string");
      await assert.rejects(medium.chat([{ role: "user", content: [{ medium: true }, { text: "hi" }] }]), {
        code: "invalid_option",
        message: "messages: expected a model with a chat template, got nanovlm",
      });
    } finally {
      await model.close();
    }
  });
});

describe("a vision-language model of an unsupported form", () => {
  const folder = temporaryFolder();
  const cases: readonly (readonly [string, string, (config: Json) => void, RegExp, string?])[] = [
    [
      "another vision model",
      "llava-clip-llama",
      (c) => Object.assign(c.vision_config, { model_type: "pixtral" }),
      /vision_config\.model_type.*expected clip_vision_model or siglip_vision_model/,
    ],
    [
      "another language model",
      "llava-clip-llama",
      (c) => Object.assign(c.text_config, { model_type: "phi" }),
      /text_config: 'model_type': expected a decoder .*got 'phi'/,
    ],
    [
      "states of several layers",
      "llava-clip-llama",
      (c) => Object.assign(c, { vision_feature_layer: [-2, -1] }),
      /vision_feature_layer.*expected one layer/,
    ],
    [
      "a layer that the encoder does not have",
      "llava-clip-llama",
      (c) => Object.assign(c, { vision_feature_layer: -9 }),
      /'vision_feature_layer': expected a block of the encoder, 1 to 3 or -3 to -1, got -9/,
    ],
    [
      "an unknown selection of states",
      "llava-clip-llama",
      (c) => Object.assign(c, { vision_feature_select_strategy: "cls" }),
      /vision_feature_select_strategy/,
    ],
    [
      "an unknown activation",
      "llava-clip-llama",
      (c) => Object.assign(c, { projector_hidden_act: "swish" }),
      /'projector_hidden_act': expected one of relu, gelu/,
    ],
    [
      "images in tiles",
      "llava-next",
      (c) => Object.assign(c, { image_grid_pinpoints: [[32, 64]] }),
      /'image_grid_pinpoints': expected no size above 32.*got 32 x 64/,
    ],
    [
      "another model type",
      "smolvlm",
      (c) => Object.assign(c, { model_type: "paligemma" }),
      /'model_type': expected a vision-language model \(llava, llava_next, idefics3, smolvlm, .*got 'paligemma'/,
    ],
    [
      "an image token that the tokenizer lacks",
      "smolvlm",
      (c) => Object.assign(c, { image_token_id: 9999 }),
      /'image_token_id': expected the id of an added token of the tokenizer, got 9999/,
    ],
    [
      "a later nanoVLM",
      "nanovlm",
      (c) => Object.assign(c, { vlm_extra_tokens: { image_token: "<|image|>" } }),
      /vlm_extra_tokens.*expected none; later versions of nanoVLM/,
    ],
    ["a nanoVLM with a class token", "nanovlm", (c) => Object.assign(c, { vit_cls_flag: true }), /vit_cls_flag/],
    [
      "images that are padded to squares",
      "llava-clip-llama",
      (c) => Object.assign(c, { do_pad: true }),
      /do_pad/,
      "preprocessor_config.json",
    ],
    [
      "missing layers",
      "idefics3",
      (c) => Object.assign(c.text_config, { num_hidden_layers: 5 }),
      /layers\.2\..* is missing/,
    ],
    [
      "more layers than the config states",
      "smolvlm",
      (c) => Object.assign(c.vision_config, { num_hidden_layers: 1 }),
      /unexpected tensors encoder\.layers\.1/,
    ],
  ];
  for (const [what, form, change, message, file] of cases) {
    it(`is rejected with the name of the field: ${what}`, async () => {
      const source = changedVlm(form, join(folder, what), change, file);
      await assert.rejects(buildTinyVlm(source, join(folder, `${what}-model`)), ({ message: got }: Error) => {
        assert.match(got, message);
        return true;
      });
    });
  }
});
