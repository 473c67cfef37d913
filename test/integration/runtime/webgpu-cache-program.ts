import { ClockedSession } from "../../../bench/greedy-run.js";
import { openGolden } from "../../support/golden-decoder.js";
import { blockBytes, mirrorRuns } from "../../support/mirror-costs.js";

/**
 * Computes the same texts on the CPU and on the device webgpu, whose decoder mirrors its cache, in a process whose
 * environment has a Vulkan driver; prints JSON: tokens and the bytes that each step sends.
 */

const NAME = "llama-shared-1token";

const cpu = await openGolden(NAME, "cpu");
const gpu = await openGolden(NAME, "webgpu");
const { shape } = cpu.decoder;
const expected = await mirrorRuns(new ClockedSession(cpu.session), shape);
const found = await mirrorRuns(new ClockedSession(gpu.session), shape);
console.log(JSON.stringify({ bytes: blockBytes(shape), expected, found }));
await Promise.all([cpu.close(), gpu.close()]);
