/** Two processes that append to one file would mix up their lines. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { whileLocked } from "../../../src/core/files/lock-path.js";
import { temporaryFolder } from "../../support/temporary-folder.js";

const folder = temporaryFolder();
const at = (...names: string[]) => join(folder, ...names);
const module = new URL("../../../src/core/files/lock-path.js", import.meta.url).href;

/** This system's kind of lock, and the kind that leaves a socket file behind. */
const platforms = new Set([process.platform, "darwin" as const]);

for (const platform of platforms) {
  describe(`a locked path (${platform})`, () => {
    const lock = <T>(path: string, use: () => Promise<T>) => whileLocked(path, use, platform);

    it("is rejected while it is in use, also under another name, and is free afterwards", async () => {
      mkdirSync(at(platform));
      symlinkSync(at(platform), at(`link-${platform}`));
      const result = await lock(at(platform, "run"), async () => {
        for (const same of [at(platform, "run"), at(`link-${platform}`, "run"), at(platform, "x", "..", "run")]) {
          await assert.rejects(
            lock(same, async () => undefined),
            {
              code: "in_use",
              message: `${same}: another process is writing it; wait for its end or choose another path`,
            },
          );
        }
        return lock(at(platform, "other"), async () => "other paths are free");
      });
      assert.equal(result, "other paths are free");
      await assert.rejects(
        lock(at(platform, "run"), () => Promise.reject(new Error("the disk is full"))),
        /the disk is full/,
      );
      assert.equal(await lock(at(platform, "run"), async () => 1), 1);
    });

    it("is free at once after its process was killed with kill -9", async () => {
      const path = at(`killed-${platform}`);
      const code = `
        import { whileLocked } from ${JSON.stringify(module)};
        await whileLocked(${JSON.stringify(path)}, async () => {
          process.stdout.write("locked");
          await new Promise(() => setInterval(() => undefined, 1000));
        }, ${JSON.stringify(platform)});`;
      const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const ended = once(child, "exit");
      await once(child.stdout, "data");
      await assert.rejects(
        lock(path, async () => undefined),
        { code: "in_use" },
      );
      child.kill("SIGKILL");
      await ended;
      assert.equal(await lock(path, async () => "free"), "free");
    });
  });
}
