import { fileURLToPath } from "node:url";

/**
 * The folder of the bundled model, which is in `models/`, three levels above the folder of the compiled file.
 *
 * @example
 * ```ts
 * import { BUNDLED_MODEL, load } from "epalm";
 * const model = await load(BUNDLED_MODEL);
 * ```
 */
export const BUNDLED_MODEL = fileURLToPath(new URL("../../../models/default", import.meta.url));
