import { createReadStream } from "node:fs";
import { EpalmError, messageOf } from "../../core/errors.js";

/** The argument that stands for a list of names on standard input. */
export const STANDARD_LIST = "@-";

/** In characters; paths are at most a few thousand bytes long. */
const MAX_NAME = 65_536;

/**
 * The names in a list (`@list.txt`, or `@-` for standard input), one per line, or each ended by a NUL character. Which
 * of both it is, is determined by what comes first, unless `endsWithNul` says so.
 *
 * @throws invalid_option if the list cannot be read
 */
export async function* namesIn(argument: string, endsWithNul: boolean): AsyncGenerator<string> {
  const stream = argument === STANDARD_LIST ? process.stdin : createReadStream(argument.slice(1));
  let end = endsWithNul ? /\0/ : undefined;
  let rest = "";
  try {
    for await (const chunk of stream.setEncoding("utf8") as AsyncIterable<string>) {
      const [, first] = end ? [] : (/([\0\n])/.exec(chunk) ?? []);
      if (first) end = first === "\0" ? /\0/ : /\r?\n/;
      const names = end ? (rest + chunk).split(end) : [rest + chunk];
      rest = names.pop() ?? "";
      if (rest.length > MAX_NAME) throw new Error(`expected names of at most ${MAX_NAME} characters`);
      yield* names.filter((name) => name !== "");
    }
  } catch (error) {
    throw new EpalmError("invalid_option", `${argument}: cannot be read as a list of names: ${messageOf(error)}`);
  }
  if (rest !== "") yield rest;
}
