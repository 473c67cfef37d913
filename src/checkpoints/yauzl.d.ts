/** The part of yauzl 3 that is used here; the package brings no types of its own. */
declare module "yauzl" {
  import { EventEmitter } from "node:events";

  export abstract class RandomAccessReader extends EventEmitter {
    read(
      buffer: Buffer,
      offset: number,
      length: number,
      position: number,
      callback: (error: Error | null) => void,
    ): void;
  }

  export interface Entry {
    readonly fileName: string;
    readonly fileNameRaw: Buffer;
    readonly compressionMethod: number;
    readonly uncompressedSize: number;
    readonly crc32: number;
    isEncrypted(): boolean;
  }

  export interface LocalFileHeader {
    readonly fileName: Buffer;
    readonly fileDataStart: number;
  }

  export class ZipFile extends EventEmitter {
    eachEntry(): AsyncIterableIterator<Entry>;
    readLocalFileHeaderPromise(entry: Entry): Promise<LocalFileHeader>;
  }

  export function fromRandomAccessReaderPromise(
    reader: RandomAccessReader,
    totalSize: number,
    options?: { autoClose?: boolean; validateEntrySizes?: boolean },
  ): Promise<ZipFile>;
}
