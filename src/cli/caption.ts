import type { Command } from "commander";
import { type AnswerFlags, addAnswerOptions, answerImages } from "./answer-images.js";
import type { CliContext } from "./context.js";
import { addGenerationOptions, type GenerationFlags, generationOptions } from "./generation-flags.js";
import { streamOption } from "./stream-option.js";
import { addModelOption, addThreadsOption, type ModelFlags, withModel } from "./with-model.js";

interface CaptionFlags extends ModelFlags, AnswerFlags, GenerationFlags {
  readonly adapter?: string;
}

const examples = `
Examples:
  epalm caption cat.jpg --model captioner
  epalm caption photos/*.jpg -m captioner --beams 5 > captions.tsv
  curl -s https://example.org/cat.png | epalm caption - -m captioner --json`;

/** `epalm caption`: what is in pictures. */
export function addCaptionCommand(program: Command, context: CliContext): void {
  const command = program
    .command("caption")
    .summary("say what is in pictures")
    .description(
      "Says what is in each picture: the text alone for one, a line `path<TAB>text` each for several.",
    );
  addModelOption(command);
  addAnswerOptions(command).addOption(streamOption());
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", examples)
    .action((images: string[], flags: CaptionFlags) => caption(images, flags, context));
}

async function caption(images: readonly string[], flags: CaptionFlags, context: CliContext): Promise<void> {
  const options = { ...generationOptions(flags), adapter: flags.adapter, signal: context.signal };
  await withModel(flags, context, (model) =>
    answerImages(images, flags, context, async (image, onText) => {
      const answer = await model.caption(image, { ...options, onText });
      return { texts: answer.texts, whole: answer };
    }),
  );
}
