import { type BuildOptions, buildModel } from "../../model/build-model.js";
import { serveThread } from "../../runtime/serve-thread.js";

/** The worker thread of `buildInThread`. */
serveThread({
  build: (options: BuildOptions, { emit }) => buildModel({ ...options, onStage: emit }),
});
