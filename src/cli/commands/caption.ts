import type { Command } from "commander";
import type { CaptionFlags } from "../actions/caption.js";
import type { CliContext } from "../context.js";
import { addAnswerOptions, manyFiles } from "../options/answer-options.js";
import { addGenerationOptions } from "../options/generation-flags.js";
import { addComputationOptions, addModelOption } from "../options/model-option.js";
import { streamOption } from "../options/stream-option.js";
import { xmpOption } from "../options/xmp-option.js";
import { styleHeadings } from "../output/colours.js";

const examples = `${manyFiles}

With --xmp, each caption becomes the description (dc:description) in the XMP sidecar beside its file, which photo
managers read. An existing sidecar keeps all of its other properties. A file that has a description is skipped, unless
--on-existing overwrite replaces it. With --output, the answers go there as well. This needs the package @xmldom/xmldom.

Examples:
  epalm caption cat.jpg --model captioner
  epalm caption photos/*.jpg -m captioner --beams 5 > captions.tsv
  epalm caption photos/*.jpg -m captioner --jsonl | jq -r .text
  epalm caption photos -m captioner --exclude '*.gif' --output captions.jsonl
  epalm caption 'shard-{000..099}.tar' -m captioner --shard 1/4 --output captions.csv
  find . -name '*.jpg' -print0 | epalm caption @- -m captioner --dry-run
  epalm caption photos -m captioner --xmp full-name
  epalm caption talk.mp4 -m hearing --modality audio
  curl -s https://example.org/cat.png | epalm caption - -m captioner --json`;

/** `epalm caption` describes images, audio files and videos. */
export function addCaptionCommand(program: Command, context: CliContext): void {
  const command = program
    .command("caption")
    .summary("describe images, audio files and videos")
    .description(
      "Describes each file. For one file, the command prints the text; for several, one line `path<TAB>text` per file.",
    );
  addModelOption(command);
  addAnswerOptions(command, "<files...>").addOption(xmpOption()).addOption(streamOption());
  addComputationOptions(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action(async (files: string[], flags: CaptionFlags) =>
      (await import("../actions/caption.js")).caption(files, flags, context),
    );
}
