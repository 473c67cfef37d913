import { fileURLToPath } from "node:url";

/** Where the model that comes with the package lies: three folders above the compiled file, in `models/`. */
export const BUNDLED_MODEL = fileURLToPath(new URL("../../../models/default", import.meta.url));
