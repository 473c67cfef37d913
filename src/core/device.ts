/** Where graphs are computed, spelled as in transformers.js. */
export const devices = ["cpu", "webgpu", "cuda", "coreml", "dml"] as const;
/** Where a graph is computed. */
export type Device = (typeof devices)[number];

/** `auto`: the first device that works on this machine, otherwise the CPU. */
export const deviceChoices = [...devices, "auto"] as const;
/** A device, or `auto`. */
export type DeviceChoice = (typeof deviceChoices)[number];
