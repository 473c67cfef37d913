import { fileURLToPath } from "node:url";

/** The folder of the bundled model, which is in `models/`, three levels above the folder of the compiled file. */
export const BUNDLED_MODEL = fileURLToPath(new URL("../../../models/default", import.meta.url));
