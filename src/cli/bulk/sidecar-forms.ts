/** Files with the answers about one medium: a line per text, or JSON. */
export const sidecarForms = ["txt", "json"] as const;
export type SidecarForm = (typeof sidecarForms)[number];

/** What happens to a sidecar that exists before a run. */
export const onExisting = ["skip", "overwrite", "append"] as const;
export type OnExisting = (typeof onExisting)[number];

/** The names of XMP sidecars: `photo.jpg.xmp` or `photo.xmp` for `photo.jpg`. */
export const xmpForms = ["full-name", "stem"] as const;
export type XmpForm = (typeof xmpForms)[number];
