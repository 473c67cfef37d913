import { allIssues, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { MAX_TEXTS, textField } from "../fields.js";
import { readLines } from "../read-lines.js";
import { MediaFolder } from "./media-folder.js";

/**
 * Reads the captions of MSVD (Chen and Dolan 2011), `AllVideoDescriptions.txt`: lines such as
 * `-4wsuPCjDBc_5_15 a squirrel is eating a peanut`, which begin with the name of a video. Empty lines and lines that
 * begin with `#` are ignored. One example per video, with all its captions.
 *
 * @param folder folder of the videos
 */
export async function* readMsvdCaptions(path: string, folder: string): AsyncGenerator<Finding> {
  const media = await MediaFolder.open(folder, "video");
  const captions = new Map<string, string[]>();
  for await (const line of readLines(path)) {
    const where = `${path}:${line.number}`;
    if (line.kind === "bad") {
      yield badExample(where, line.cause);
      continue;
    }
    if (line.text.trim() === "" || line.text.startsWith("#")) continue;
    const [, video, text] = /^(\S+)\s+(.*)$/.exec(line.text.trim()) ?? [];
    const { data, error } = safeParse(textField, text ?? "");
    if (video === undefined) yield badExample(where, "expected the name of a video and a caption");
    else if (error) yield badExample(where, allIssues(error));
    else captions.set(video, [...(captions.get(video) ?? []), data]);
  }
  for (const [video, own] of captions) {
    const where = `${path}: ${video}`;
    if (own.length > MAX_TEXTS) yield badExample(where, `expected at most ${MAX_TEXTS} captions, got ${own.length}`);
    else yield { kind: "caption", where, media: media.find([video]), captions: own };
  }
}
