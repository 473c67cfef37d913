import { type Command, Option } from "commander";
import { type DataSetFormat, dataSetFormats } from "../../training/data/data-set-formats.js";

export interface DataSetFlags {
  readonly format?: DataSetFormat;
  readonly media?: string;
  readonly split?: string[];
  readonly list?: string;
  readonly annotations?: string;
  readonly imagePattern?: string;
}

/** Adds the options that describe a data set; they have the names of the keys of a training config. */
export function addDataSetOptions(command: Command): Command {
  return command
    .addOption(new Option("--format <name>", "format of DATA (default: detected)").choices(dataSetFormats))
    .option("--media <dir>", "folder of the media, unless DATA contains their paths (default: the folder of DATA)")
    .option("--split <name...>", "Karpathy's splits and MSR-VTT: splits to use (default: all)")
    .option("--list <file>", "text file with the names of the media to use, one per line (default: all)")
    .option("--annotations <file>", "VQA v2: file with the annotations of the questions")
    .option("--image-pattern <name>", "VQA v2: pattern of the image names (default: COCO_{split}_{id:012d}.jpg)");
}
