import { closeSync, openSync, writeSync } from "node:fs";
import type { Command } from "commander";
import {
  adapterModality,
  type Evaluation,
  evaluateModel,
  modalitiesOf,
  namedScores,
  readAdapter,
  readEvaluationData,
  readManifest,
} from "../../index.js";
import type { ReadOptions } from "../../training/data/read-data-set.js";
import type { CliContext } from "../context.js";
import { addGenerationOptions, generationOptions } from "../options/generation-flags.js";
import { checkModality, type ModalityFlags, modalityOption } from "../options/modality-option.js";
import { integer } from "../options/option-values.js";
import { addModelOption, addThreadsOption, type ModelFlags, withModel } from "../options/with-model.js";
import { styleHeadings } from "../output/colours.js";
import { formatCount, formatTable, note, print } from "../output/output.js";

interface EvalFlags extends ModelFlags, ModalityFlags {
  readonly annotations?: string;
  readonly media?: string;
  readonly imagePattern?: string;
  readonly adapter?: string;
  readonly adapterFile?: string;
  readonly blind?: true;
  readonly skipBad?: true;
  readonly limit?: number;
  readonly predictions?: string;
  readonly json?: true;
}

/** Larger than any public data set. */
const MAX_EXAMPLES = 10_000_000;

/** Under this name an adapter file is used that stands in no model folder. */
const FROM_FILE = "from file";

const examples = `
DATA is a .jsonl file, a COCO captions JSON, VQA v2 questions (with --annotations), or a folder of name.png
(or another picture, sound or video) + name.txt.

Examples:
  epalm eval held-out.jsonl -m captioner --predictions predictions.jsonl
  epalm eval held-out.jsonl -m captioner --blind
  epalm eval barks.jsonl -m listener --adapter-file runs/barks/adapter.safetensors
  epalm eval v2_OpenEnded_mscoco_val2014_questions.json --annotations v2_mscoco_val2014_annotations.json \\
    --media val2014 -m captioner --adapter vqa --limit 1000`;

/** `epalm eval`: scores of a model folder on a data set. */
export function addEvalCommand(program: Command, context: CliContext): void {
  const command = program
    .command("eval")
    .summary("score a model on a data set")
    .description("Lets a model caption or answer a data set: CIDEr, CIDEr-D, BLEU, ROUGE-L, VQA accuracy.")
    .argument("<data>", "file or folder");
  addModelOption(command)
    .option("--annotations <file>", "VQA v2: the annotations of the questions")
    .option("--media <dir>", "COCO and VQA v2: folder of the pictures (default: the file's)")
    .option("--image-pattern <name>", "VQA v2: names of pictures (default: COCO_{split}_{id:012d}.jpg)")
    .option("--adapter <name>", "adapter (default: the first that was trained for the task and the medium)")
    .option("--adapter-file <file>", "an adapter that stands in no model folder")
    .option("--blind", "leave the media out: what they add is the difference")
    .addOption(
      modalityOption("of the examples (default: what the adapter takes, or else what the model takes)"),
    )
    .option("--skip-bad", "leave bad examples out and list them")
    .option("--limit <n>", "the first examples only", integer(1, MAX_EXAMPLES))
    .option("--predictions <file>", "write them here, a JSON object per line")
    .option("--json", "print the scores as JSON");
  addThreadsOption(command);
  addGenerationOptions(command);
  command
    .addHelpText("after", styleHeadings(examples))
    .action((data: string, flags: EvalFlags) => evalCommand(data, flags, context));
}

async function evalCommand(path: string, flags: EvalFlags, context: CliContext): Promise<void> {
  const { annotations, media, imagePattern, skipBad, limit } = flags;
  const source = { path, annotations, media, imagePattern };
  const modalities = takenModalities(flags);
  const data = await readEvaluationData(source, { skipBad, limit, modalities, signal: context.signal });
  if (data.skipped.length > 0) note(`${formatCount(data.skipped.length)} bad examples are left out:`);
  for (const { where, cause } of data.skipped) note(`  ${where}: ${cause}`);
  const { scores } = await withModel(flags, context, async (model): Promise<Evaluation> => {
    const adapter = flags.adapterFile === undefined ? flags.adapter : FROM_FILE;
    if (flags.adapterFile !== undefined)
      await model.useAdapter(
        FROM_FILE,
        await readAdapter(flags.adapterFile),
        data.examples[0]?.media.modality,
      );
    const file = flags.predictions === undefined ? undefined : openSync(flags.predictions, "w");
    try {
      return await evaluateModel(model, data.examples, {
        adapter,
        textOnly: flags.blind,
        generation: generationOptions(flags),
        signal: context.signal,
        onPrediction: (prediction) => {
          if (file !== undefined) writeSync(file, `${JSON.stringify(prediction)}\n`);
        },
      });
    } finally {
      if (file !== undefined) closeSync(file);
    }
  });
  const named = namedScores(scores);
  if (flags.json)
    print(JSON.stringify({ examples: data.examples.length, skipped: data.skipped.length, scores: named }));
  else {
    const rows = Object.entries(named).map(([name, value]) => [name, value.toFixed(4)]);
    print(formatTable([["examples", formatCount(data.examples.length)], ...rows]));
  }
}

/** What examples may be of: of one modality, where one adapter is asked. */
function takenModalities({ model, modality, adapter, adapterFile }: EvalFlags): ReadOptions["modalities"] {
  const manifest = readManifest(model);
  const taken = modalitiesOf(manifest);
  checkModality({ modality }, { modalities: taken });
  if (modality !== undefined) return [modality];
  if (adapterFile !== undefined) return taken.length === 1 ? taken : "one";
  const entry = adapter === undefined ? undefined : manifest.adapters[adapter];
  return entry ? [adapterModality(manifest, entry)] : taken;
}
