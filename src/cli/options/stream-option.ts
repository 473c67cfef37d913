import { Option } from "commander";

/** `--stream`, and what cannot go with it. */
export function streamOption(): Option {
  return new Option(
    "--stream",
    "print the text as it comes; give --beams 1 where the task's default is a search, which ends before it shows",
  ).conflicts(["json", "output", "scores", "sequences"]);
}
