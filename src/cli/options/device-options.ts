import { type Command, Option } from "commander";
import { type DeviceChoice, deviceChoices } from "../../core/device.js";
import type { ModelDevices } from "../../index.js";

export interface DeviceFlags {
  readonly device?: DeviceChoice;
  readonly encoderDevice?: DeviceChoice;
  readonly decoderDevice?: DeviceChoice;
}

/** Adds the options of commands that run a model. */
export function addDeviceOptions(command: Command): Command {
  const option = (flag: string, what: string) => new Option(`${flag} <device>`, what).choices([...deviceChoices]);
  return command
    .addOption(option("--device", "where to compute (default: EPALM_DEVICE, or else cpu)"))
    .addOption(option("--encoder-device", "where to compute the encoders (default: that of --device)"))
    .addOption(option("--decoder-device", "where to compute the decoder (default: that of --device)"));
}

/** The devices that the flags choose; undefined parts have their default. */
export function chosenDevices({ device, encoderDevice, decoderDevice }: DeviceFlags): ModelDevices {
  return { encoder: encoderDevice ?? device, decoder: decoderDevice ?? device };
}
