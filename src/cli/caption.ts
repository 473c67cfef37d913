import type { Command } from "commander";
import { type AnswerFlags, addAnswerOptions, answerImages, manyPictures } from "./answer-images.js";
import { styleHeadings } from "./colours.js";
import type { CliContext } from "./context.js";
import { addGenerationOptions, type GenerationFlags, generationOptions } from "./generation-flags.js";
import { streamOption } from "./stream-option.js";
import { addModelOption, addThreadsOption, type ModelFlags, withModel } from "./with-model.js";

interface CaptionFlags extends ModelFlags, AnswerFlags, GenerationFlags {
  readonly adapter?: string;
}

const examples = `${manyPictures}

Examples:
  epalm caption cat.jpg --model captioner
  epalm caption photos/*.jpg -m captioner --beams 5 > captions.tsv
  epalm caption photos/*.jpg -m captioner --jsonl | jq -r .text
  epalm caption photos/*.jpg -m captioner --output captions.jsonl
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
  addAnswerOptions(command, "<images...>").addOption(streamOption());
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action((images: string[], flags: CaptionFlags) => caption(images, flags, context));
}

async function caption(images: readonly string[], flags: CaptionFlags, context: CliContext): Promise<void> {
  const options = { ...generationOptions(flags), adapter: flags.adapter, signal: context.signal };
  const askings = images.map((image) => ({ image }));
  await withModel(flags, context, (model) =>
    answerImages(askings, flags, context, model.manifest.name, async (image, _, onText) => {
      const answer = await model.caption(image, { ...options, onText });
      return { texts: answer.texts, whole: answer };
    }),
  );
}
