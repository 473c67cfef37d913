import assert from "node:assert/strict";
import { homedir } from "node:os";
import { describe, it } from "node:test";
import { epalm } from "../../../support/cli-process.js";

/** Here, because it measures the memory with all cores for some seconds. */
describe("epalm doctor", () => {
  it("reports versions, devices, ffmpeg and folders, without the name of the user", async () => {
    const { code, stdout } = await epalm(["doctor", "--json"]);
    assert.equal(code, 0);
    const { machine, threads, readBandwidth, devices, ffmpeg, folders, ...rest } = JSON.parse(stdout);
    assert.equal(machine.node, process.version);
    assert.match(`${machine.onnxruntime} ${rest.epalm}`, /^\d+\.\d+\.\d+ \d+\.\d+\.\d+/);
    assert.ok(threads >= 1 && readBandwidth > 1e8, `${threads} threads, ${readBandwidth} B/s`);
    assert.deepEqual(devices.cpu, { works: true, fp16: true });
    const absent = process.platform === "win32" ? devices.coreml : devices.dml;
    assert.equal(absent.works, false);
    assert.match(absent.problem, /backend not found/);
    assert.ok(ffmpeg.version && ffmpeg.path);
    assert.deepEqual(
      folders.map(({ use }: { use: string }) => use),
      ["downloads", "temporary files"],
    );
    for (const { freeBytes } of folders) assert.ok(freeBytes > 0);
    assert.ok(homedir() === "/" || !stdout.includes(`"${homedir()}`));
  });
});
