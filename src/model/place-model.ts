import { type DeviceChoice, deviceChoices } from "../core/device.js";
import { readEnvironment } from "../core/environment.js";
import { unexpected } from "../core/errors.js";
import { computesInFp16, multipliesIntegers } from "../core/precision.js";
import { type OpenProbe, type Placement, placeGraph } from "../runtime/device.js";
import { encodersOf } from "./encoders.js";
import type { Manifest } from "./manifest.js";

/** Devices of the encoders and of the decoder. Default of each: `EPALM_DEVICE`, or else `cpu`. */
export interface ModelDevices {
  readonly encoder?: DeviceChoice | undefined;
  readonly decoder?: DeviceChoice | undefined;
}

/** Where the graphs of a model are computed. Adapters, which are small, are always computed on the CPU. */
export interface ModelPlacement {
  readonly encoder: Placement;
  readonly decoder: Placement;
}

/**
 * Finds the devices for the graphs of a model.
 *
 * @throws invalid_option if a chosen device does not work on this machine or cannot compute a graph
 */
export async function placeModel(
  manifest: Manifest,
  chosen: DeviceChoice | ModelDevices | undefined,
  open: OpenProbe,
): Promise<ModelPlacement> {
  const { encoder, decoder } = typeof chosen === "object" ? chosen : { encoder: chosen, decoder: chosen };
  const precisions = encodersOf(manifest).map((one) => one.precision);
  const hardest = precisions.find(multipliesIntegers) ?? precisions.find(computesInFp16) ?? "fp32";
  return {
    encoder: await placeGraph(encoder ?? defaultDevice(), { name: "encoder", precision: hardest }, open),
    decoder: await placeGraph(
      decoder ?? defaultDevice(),
      { name: "decoder", precision: manifest.decoder.precision },
      open,
    ),
  };
}

/** The value of `EPALM_DEVICE`. @throws invalid_option */
export function defaultDevice(): DeviceChoice {
  const { device = "cpu" } = readEnvironment();
  const choice = deviceChoices.find((one) => one === device);
  if (choice) return choice;
  throw unexpected("invalid_option", "EPALM_DEVICE", deviceChoices.join(", "), device);
}
