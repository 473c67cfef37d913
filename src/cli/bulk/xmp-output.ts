import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { EpalmError, messageOf, unexpected } from "../../core/errors.js";
import { writeAtomically } from "../../core/files/atomic-write.js";
import { KeySet } from "../../core/key-set.js";
import { optionalPackage } from "../../core/optional-package.js";
import type { RunMedium } from "./run-medium.js";
import { needsReview, type RunOutput, type RunResult } from "./run-output.js";
import type { OnExisting, XmpForm } from "./sidecar-forms.js";
import { withoutExtension } from "./sidecar-output.js";
import { type Xmldom, XmpDocument, xmlText } from "./xmp-document.js";

export interface XmpOptions {
  readonly form: XmpForm;
  /** Whether a description that exists stays or is replaced. */
  readonly onExisting: OnExisting;
  /** The output that also gets the answers, and decides which media are done. Default: the sidecars decide. */
  readonly records: RunOutput | undefined;
}

/** Sidecars with much larger histories of edits than programs write. */
const MAX_BYTES = 64 * 2 ** 20;

/** Captions as `dc:description` in the XMP sidecars of photo managers, whose other content stays as it is. */
export class XmpOutput implements RunOutput {
  readonly #claimed = new KeySet();

  private constructor(
    private readonly options: XmpOptions,
    private readonly xmldom: Xmldom,
  ) {}

  /** @throws invalid_option if the package for XML is not installed */
  static async open(options: XmpOptions): Promise<XmpOutput> {
    if (options.onExisting === "append") {
      throw unexpected("invalid_option", "--on-existing", "skip or overwrite with --xmp", "append");
    }
    return new XmpOutput(options, await optionalPackage("@xmldom/xmldom", "--xmp", () => import("@xmldom/xmldom")));
  }

  begin(medium: RunMedium, question: string | undefined): boolean {
    const path = this.#pathOf(medium);
    const { records, onExisting } = this.options;
    if (records) return records.begin(medium, question);
    if (path === undefined || onExisting === "overwrite") return true;
    try {
      return this.#read(path)?.description === undefined;
    } catch {
      // `refuse` reports it.
      return true;
    }
  }

  refuse(medium: RunMedium): EpalmError | undefined {
    const path = this.#pathOf(medium);
    if (path === undefined) return undefined;
    if (!this.#claimed.add(path)) {
      return new EpalmError("invalid_option", `${medium.file}: ${path} is the sidecar of another file`);
    }
    try {
      this.#read(path);
      return undefined;
    } catch (error) {
      if (error instanceof EpalmError) return error;
      throw error;
    }
  }

  /** Writes the sidecar first, so that a run that is killed between the two makes the line again. */
  async write(medium: RunMedium, results: readonly RunResult[]): Promise<void> {
    const path = this.#pathOf(medium);
    const [result] = results;
    // A text in the place of an answer is no description.
    if (path !== undefined && result && !result.error && !needsReview(result.reply)) {
      this.#describe(path, result.reply.texts[0]?.text ?? "");
    }
    await this.options.records?.write(medium, results);
  }

  async close(): Promise<void> {
    await this.options.records?.close();
  }

  #describe(path: string, text: string): void {
    if (xmlText(text).trim() === "") return;
    const existing = this.#read(path);
    if (this.options.onExisting === "skip" && existing?.description !== undefined) return;
    const document = existing ?? XmpDocument.empty(this.xmldom);
    document.describe(text);
    // A sidecar that is a link stays one.
    writeAtomically(existing ? realpathSync(path) : path, document.toString());
  }

  /** @throws invalid_data, too_large */
  #read(path: string): XmpDocument | undefined {
    if (!existsSync(path)) return undefined;
    const { size } = statSync(path);
    if (size > MAX_BYTES) {
      throw unexpected("too_large", path, `an XMP sidecar of at most ${MAX_BYTES} bytes`, `${size} bytes`);
    }
    return XmpDocument.parse(this.xmldom, readBytes(path), path);
  }

  /** The path of the sidecar; undefined for a medium that cannot be read. @throws invalid_option */
  #pathOf({ file, source }: RunMedium): string | undefined {
    if (source.kind === "unreadable") return undefined;
    if (source.kind === "path") {
      return `${this.options.form === "stem" ? withoutExtension(source.path) : source.path}.xmp`;
    }
    throw new EpalmError("invalid_option", `--xmp: ${file} is not a file, beside which a sidecar could be`);
  }
}

function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new EpalmError("invalid_data", `${path}: cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
