/** What a medium can be taken for: one encoder of a model is for each. */
export const modalities = ["image", "audio", "video"] as const;

export type Modality = (typeof modalities)[number];
