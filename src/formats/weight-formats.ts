/** A format in which a folder with the Hugging Face layout stores a model's weights. */
export interface WeightFormat {
  /** The file to open; its presence identifies the format. */
  readonly entry: string;
  /** All files of the format; `*` matches any characters except a slash. */
  readonly files: readonly string[];
}

/** In order of preference. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = [
  { entry: "model.safetensors", files: ["model.safetensors"] },
  {
    entry: "model.safetensors.index.json",
    files: ["model.safetensors.index.json", "model-*-of-*.safetensors"],
  },
  { entry: "pytorch_model.bin", files: ["pytorch_model.bin"] },
  {
    entry: "pytorch_model.bin.index.json",
    files: ["pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"],
  },
  { entry: "open_clip_model.safetensors", files: ["open_clip_model.safetensors"] },
  { entry: "open_clip_pytorch_model.bin", files: ["open_clip_pytorch_model.bin"] },
];
