import { constants } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { parse as parseCsv } from "csv-parse/sync";
import { z } from "zod";
import { EpalmError, messageOf, tooManyBytes } from "../../../core/errors.js";
import { allIssues, safeParse } from "../../../core/schema.js";
import { badExample, type Finding } from "../example.js";
import { MAX_TEXTS, pathField, textField } from "../fields.js";
import { MediaFolder } from "./media-folder.js";

const rowSchema = z.object({
  audiocap_id: z.string().default(""),
  youtube_id: pathField,
  /** In seconds. */
  start_time: z
    .string()
    .regex(/^\d{1,6}(\.\d+)?$/, "expected a number of seconds")
    .default("0"),
  caption: textField,
});
type Row = z.infer<typeof rowSchema>;

/** Length of the clips in seconds. */
const CLIP = 10;

/** A clip, and the captions of its rows. */
interface Clip {
  readonly where: string;
  readonly names: readonly string[];
  readonly captions: string[];
}

/**
 * Reads the captions of AudioCaps (Kim et al. 2019), `train.csv`, `val.csv` and `test.csv` with the columns
 * `audiocap_id`, `youtube_id`, `start_time` and `caption`. One example per clip, with all its captions: one in the
 * training set, and five in the others. The common names of the audio files are tried; see `namesOf`.
 *
 * @param folder folder of the audio files
 */
export async function* readAudioCaps(path: string, folder: string): AsyncGenerator<Finding> {
  const rows = await readRows(path);
  const media = await MediaFolder.open(folder, "audio");
  const clips = new Map<string, Clip>();
  for (const [index, row] of rows.entries()) {
    const where = `${path}: row ${index + 1}`;
    const { data, error } = safeParse(rowSchema, row);
    if (error) {
      yield badExample(where, allIssues(error));
      continue;
    }
    const key = `${data.youtube_id} ${data.start_time}`;
    const clip = clips.get(key) ?? { where, names: namesOf(data), captions: [] };
    clips.set(key, clip);
    clip.captions.push(data.caption);
  }
  for (const { where, names, captions } of clips.values()) {
    if (captions.length <= MAX_TEXTS) yield { kind: "caption", where, media: media.find(names), captions };
    else yield badExample(where, `expected at most ${MAX_TEXTS} captions of a clip, got ${captions.length}`);
  }
}

/** Rows after the header, as objects with the header's keys. */
async function readRows(path: string): Promise<unknown[]> {
  const { size } = await stat(path);
  if (size > constants.MAX_STRING_LENGTH) throw tooManyBytes(path, constants.MAX_STRING_LENGTH, size);
  try {
    // Rows with too many or too few columns are kept, so that they are reported by their missing values.
    const rows: Record<string, string>[] = parseCsv(await readFile(path), {
      ...{ columns: true, bom: true, trim: true, skip_empty_lines: true, relax_column_count: true },
    });
    const missing = ["youtube_id", "caption"].filter((name) => rows[0] !== undefined && !(name in rows[0]));
    if (missing.length === 0) return rows;
    throw new EpalmError("invalid_data", `${path}: expected the column '${missing.join("' and '")}' in the first line`);
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("invalid_data", `${path}: is not CSV: ${messageOf(error)}`);
  }
}

/**
 * The names, without extensions, under which the usual download programs store a clip: `ID`, `YID`, `ID_START`,
 * `ID_START_END` (in seconds, in seconds with six digits, or in milliseconds), and the id of the caption.
 */
function namesOf({ youtube_id: id, start_time, audiocap_id }: Row): string[] {
  const start = Number(start_time);
  const six = (seconds: number) => String(seconds).padStart(6, "0");
  const times = [
    `${start}`,
    `${start}_${start + CLIP}`,
    six(start),
    `${six(start)}_${six(start + CLIP)}`,
    `${start * 1000}`,
    `${start * 1000}_${(start + CLIP) * 1000}`,
  ];
  const whole = [id, `Y${id}`, ...times.flatMap((time) => [`${id}_${time}`, `Y${id}_${time}`])];
  return audiocap_id === "" ? whole : [...whole, audiocap_id];
}
