/** One way to keep a model's weights in a folder of the Hugging Face layout. */
export interface WeightFormat {
  /** The file to open; that it is there shows that the format is. */
  readonly entry: string;
  /** All files of the format; `*` stands for any characters but a slash. */
  readonly files: readonly string[];
}

/** The preferred formats first. */
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
];
