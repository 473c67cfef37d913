/** The ways in which a medium can be interpreted. A model has at most one encoder for each. */
export const modalities = ["image", "audio", "video"] as const;

/** The kind of a medium. */
export type Modality = (typeof modalities)[number];
