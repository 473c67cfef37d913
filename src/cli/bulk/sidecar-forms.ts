/** Files with the answers about one medium: a line per text, or JSON. */
export const sidecarForms = ["txt", "json"] as const;
export type SidecarForm = (typeof sidecarForms)[number];

/** What happens to a sidecar that exists before a run. */
export const onExisting = ["skip", "overwrite", "append"] as const;
export type OnExisting = (typeof onExisting)[number];
