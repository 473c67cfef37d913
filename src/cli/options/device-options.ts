import { type Command, Option } from "commander";
import { type DeviceChoice, deviceChoices } from "../../core/device.js";
import type { ModelDevices } from "../../index.js";

export interface DeviceFlags {
  readonly device?: DeviceChoice;
  readonly encoderDevice?: DeviceChoice;
  readonly decoderDevice?: DeviceChoice;
}

export function deviceOption(what = "where to compute (default: EPALM_DEVICE, or else cpu)"): Option {
  return option("--device", what);
}

function option(flag: string, what: string): Option {
  return new Option(`${flag} <device>`, what).choices([...deviceChoices]);
}

/** Adds the options of commands that run a model. */
export function addDeviceOptions(command: Command): Command {
  return command
    .addOption(deviceOption())
    .addOption(option("--encoder-device", "where to compute the encoders (default: that of --device)"))
    .addOption(option("--decoder-device", "where to compute the decoder (default: that of --device)"));
}

/** The devices that the flags choose; undefined parts have their default. */
export function chosenDevices({ device, encoderDevice, decoderDevice }: DeviceFlags): ModelDevices {
  return { encoder: encoderDevice ?? device, decoder: decoderDevice ?? device };
}
