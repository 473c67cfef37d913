import { fileURLToPath } from "node:url";

/** Folder of the model that comes with the package: three above the compiled file, in `models/`. */
export const BUNDLED_MODEL = fileURLToPath(new URL("../../../models/default", import.meta.url));
