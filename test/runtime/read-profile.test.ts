import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Value } from "../../src/graph/ir.js";
import { encodeOnnx } from "../../src/graph/onnx-writer.js";
import { readProfile } from "../../src/runtime/read-profile.js";
import { openSession } from "../../src/runtime/session.js";
import { floats, graphOf, integers } from "../support/small-graphs.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

describe("the profile of a session", () => {
  it("counts each node of the first run, and names those on the CPU that take more than indices", async () => {
    const feeds = { x: floats([2, 2], [1, 2, 3, 4]), at: integers([1], [1]) };
    const graph = graphOf(feeds, (g, { x, at }) => [
      g.matmul(g.gather(x as Value, g.add(at as Value, g.integer(0))), x as Value),
      g.matmul(x as Value, x as Value),
    ]);
    const session = await openSession(encodeOnnx(graph), {
      threads: 1,
      optimize: false,
      profileTo: join(folder, "small"),
    });
    for (let run = 0; run < 3; run++) await session.run(feeds, ["0", "1"]);
    await session.close();
    const [file = ""] = readdirSync(folder).filter((name) => name.startsWith("small"));
    assert.deepEqual(readProfile(join(folder, file)), {
      all: 6,
      copies: 0,
      onCpu: { Gather: 1, Identity: 2, MatMul: 2 },
    });
  });
});
