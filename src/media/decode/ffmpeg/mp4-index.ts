/** Boxes before the content of an MP4; more are not searched. */
const MAX_BOXES = 32;

/** Whether the index (`moov`) of an MP4 precedes its content (`mdat`), so that it can be read without seeking. */
export function isIndexedFirst(bytes: Uint8Array): boolean {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  for (let box = 0; box < MAX_BOXES && at + 16 <= view.length; box++) {
    const type = view.toString("latin1", at + 4, at + 8);
    if (type === "moov") return true;
    if (type === "mdat") return false;
    const length = view.readUInt32BE(at);
    at += length === 1 ? Number(view.readBigUInt64BE(at + 8)) : Math.max(8, length);
  }
  return false;
}
