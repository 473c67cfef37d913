import { Option } from "commander";

/** `--stream`, with the options that it excludes. */
export function streamOption(): Option {
  return new Option(
    "--stream",
    "print the text while it is generated; with beam search (see --beams), it appears only at the end",
  ).conflicts(["json", "output", "sidecar", "xmp", "concurrency", "scores", "sequences"]);
}
