import { crc32 } from "node:zlib";
import { type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from "yauzl";
import { EpalmError, messageOf } from "../core/errors.js";
import { invalidCheckpoint } from "./invalid-checkpoint.js";
import type { RandomAccessFile } from "./random-access-file.js";

/** Torch writes one record per storage; the largest published files have about ten thousand. */
const MAX_RECORDS = 200_000;
/** Compression method of uncompressed records. */
const STORED = 0;
/** Number of bytes in memory while a checksum is computed. */
const CHECKSUM_CHUNK_BYTES = 1 << 22;

/** A stored (uncompressed) file inside a zip archive. */
export class ZipRecord {
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly #file: RandomAccessFile;
  readonly #start: number;
  readonly #checksum: number;
  #verified: boolean;

  constructor(file: RandomAccessFile, name: string, start: number, size: number, checksum: number) {
    this.name = name;
    this.size = size;
    this.#file = file;
    this.#start = start;
    this.#checksum = checksum;
    // `torch.serialization.set_crc32_options(False)` leaves the field at zero.
    this.#verified = checksum === 0;
  }

  /**
   * A new array of the bytes `[start, end)`. The first read verifies the CRC-32 of the whole record.
   *
   * @throws `invalid_checkpoint` if it does not match
   */
  read(start = 0, end = this.size): Uint8Array<ArrayBuffer> {
    const bytes = this.#file.read(this.#start + start, end - start);
    if (!this.#verified) this.#verify(bytes.length === this.size ? bytes : undefined);
    return bytes;
  }

  #verify(whole: Uint8Array | undefined): void {
    const checksum = whole ? crc32(whole) : this.#streamedChecksum();
    if (checksum !== this.#checksum) {
      throw invalidCheckpoint(this.#file.path, `record ${this.name} is damaged: its checksum does not match`);
    }
    this.#verified = true;
  }

  #streamedChecksum(): number {
    let checksum = 0;
    for (let done = 0; done < this.size; done += CHECKSUM_CHUNK_BYTES) {
      const length = Math.min(CHECKSUM_CHUNK_BYTES, this.size - done);
      checksum = crc32(this.#file.read(this.#start + done, length), checksum);
    }
    return checksum;
  }
}

/**
 * The records of a zip archive by name. Local and central headers must agree, and no record may be compressed or
 * encrypted. The file remains open, even after an error.
 *
 * @throws `invalid_checkpoint`
 */
export async function readZipRecords(file: RandomAccessFile): Promise<ReadonlyMap<string, ZipRecord>> {
  try {
    return await collectRecords(file);
  } catch (error) {
    throw error instanceof EpalmError ? error : invalidCheckpoint(file.path, `damaged zip: ${messageOf(error)}`);
  }
}

async function collectRecords(file: RandomAccessFile): Promise<ReadonlyMap<string, ZipRecord>> {
  const zip = await fromRandomAccessReaderPromise(new ZipReader(file), file.size, { autoClose: false });
  const records = new Map<string, ZipRecord>();
  for await (const entry of zip.eachEntry()) {
    if (records.size === MAX_RECORDS) {
      throw invalidCheckpoint(file.path, `more than ${MAX_RECORDS} zip records`);
    }
    if (records.has(entry.fileName)) throw invalidCheckpoint(file.path, `record ${entry.fileName} occurs twice`);
    const start = await dataStart(file, zip, entry);
    const { fileName, uncompressedSize, crc32: checksum } = entry;
    records.set(fileName, new ZipRecord(file, fileName, start, uncompressedSize, checksum));
  }
  return records;
}

async function dataStart(file: RandomAccessFile, zip: ZipFile, entry: Entry): Promise<number> {
  if (entry.compressionMethod !== STORED || entry.isEncrypted()) {
    throw invalidCheckpoint(
      file.path,
      `record ${entry.fileName} is compressed or encrypted; only uncompressed records are supported`,
    );
  }
  const local = await zip.readLocalFileHeaderPromise(entry);
  if (!local.fileName.equals(entry.fileNameRaw)) {
    throw invalidCheckpoint(file.path, `record ${entry.fileName} has another name in its local header`);
  }
  return local.fileDataStart;
}

/**
 * Lets yauzl read the open file. Reads are synchronous, so that an error that a damaged archive causes in yauzl
 * rejects the caller's promise instead of terminating the process from a callback.
 */
class ZipReader extends RandomAccessReader {
  readonly #file: RandomAccessFile;

  constructor(file: RandomAccessFile) {
    super();
    this.#file = file;
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null) => void,
  ): void {
    buffer.set(this.#file.read(position, length), offset);
    callback(null);
  }
}
