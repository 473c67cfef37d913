/** What the bundled model's adapters are for, each for one. */
export const tasks = ["caption", "vqa"] as const;
export type Task = (typeof tasks)[number];

/** Adapters that were trained alike, but without the pictures; part of the repository, for the comparison alone. */
export const BLIND_FOLDER = new URL("../../../models/recipe/blind/", import.meta.url).pathname;
