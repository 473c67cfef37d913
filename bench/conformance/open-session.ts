import { defaultDevice } from "../../src/model/place-model.js";
import { openSession as openOn, type Session, type SessionOptions } from "../../src/runtime/session.js";

/** Opens a graph on the device that `EPALM_DEVICE` names, whose results are then compared. Default: the CPU. */
export function openSession(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const device = defaultDevice();
  return openOn(model, { device: device === "auto" ? "cpu" : device, ...options });
}
