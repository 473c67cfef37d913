import type { Command } from "commander";
import type { CliContext } from "../context.js";
import { addGenerationOptions, generationOptions } from "../options/generation-flags.js";
import { streamOption } from "../options/stream-option.js";
import { addModelOption, addThreadsOption, type ModelFlags, withModel } from "../options/with-model.js";
import { type AnswerFlags, addAnswerOptions, answerMedia, manyFiles } from "../output/answer-media.js";
import { styleHeadings } from "../output/colours.js";

interface CaptionFlags extends ModelFlags, AnswerFlags {}

const examples = `${manyFiles}

Examples:
  epalm caption cat.jpg --model captioner
  epalm caption photos/*.jpg -m captioner --beams 5 > captions.tsv
  epalm caption photos/*.jpg -m captioner --jsonl | jq -r .text
  epalm caption photos/*.jpg -m captioner --output captions.jsonl
  epalm caption talk.mp4 -m hearing --modality audio
  curl -s https://example.org/cat.png | epalm caption - -m captioner --json`;

/** `epalm caption`: what is in pictures. */
export function addCaptionCommand(program: Command, context: CliContext): void {
  const command = program
    .command("caption")
    .summary("say what is in pictures, sounds and videos")
    .description(
      "Says what is in each file: the text alone for one, a line `path<TAB>text` each for several.",
    );
  addModelOption(command);
  addAnswerOptions(command, "<files...>").addOption(streamOption());
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action((files: string[], flags: CaptionFlags) => caption(files, flags, context));
}

async function caption(files: readonly string[], flags: CaptionFlags, context: CliContext): Promise<void> {
  const options = { ...generationOptions(flags), adapter: flags.adapter, signal: context.signal };
  const questions = files.map((file) => ({ file, modality: flags.modality }));
  await withModel(flags, context, (model) =>
    answerMedia(questions, flags, context, model, async (medium, { modality }, onText) => {
      const answer = await model.caption(medium, { ...options, modality, onText });
      return { texts: answer.texts, whole: answer };
    }),
  );
}
