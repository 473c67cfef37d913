import { buildModel, buildVlm } from "../../model/build-model.js";
import type { BuildOptions, VlmBuildOptions } from "../../model/build-options.js";
import { serveThread } from "../../runtime/serve-thread.js";

/** The worker thread of `buildInThread`. */
serveThread({
  build: (options: BuildOptions | VlmBuildOptions, { emit }) =>
    "vlm" in options ? buildVlm({ ...options, onStage: emit }) : buildModel({ ...options, onStage: emit }),
});
