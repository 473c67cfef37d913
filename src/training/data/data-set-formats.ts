/** The formats of data sets; docs/training.md describes them. */
export const dataSetFormats = [
  "json-lines",
  "text-folder",
  "coco-captions",
  "coco-karpathy",
  "vqa-v2",
  "gqa",
  "msr-vtt",
  "msvd-captions",
  "video-questions",
  "audiocaps",
  "epalm",
] as const;

export type DataSetFormat = (typeof dataSetFormats)[number];
