import { Option } from "commander";
import { xmpForms } from "../bulk/sidecar-forms.js";

/** `--xmp`: captions in the sidecars of photo managers. */
export function xmpOption(): Option {
  return new Option(
    "--xmp <name>",
    "write the captions to XMP sidecars beside the files: photo.jpg.xmp (full-name) or photo.xmp (stem)",
  )
    .choices(xmpForms)
    .conflicts("sidecar");
}
