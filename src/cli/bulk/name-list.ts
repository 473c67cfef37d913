import { EpalmError, messageOf } from "../../core/errors.js";
import { openInput } from "./remote/open-input.js";

/** The argument that stands for a list of names on standard input. */
export const STANDARD_LIST = "@-";

/** In characters; paths are at most a few thousand bytes long. */
const MAX_NAME = 65_536;

/**
 * The names in a list (`@list.txt`, or `@-` for standard input), one per line, or each ended by a NUL character:
 * whichever end comes first, unless `endsWithNul` is true.
 *
 * @throws invalid_option if the list cannot be read; too_large for a name of more than 65,536 characters
 */
export async function* namesIn(argument: string, endsWithNul: boolean): AsyncGenerator<string> {
  const stream = argument === STANDARD_LIST ? process.stdin : await openInput(argument.slice(1));
  let end = endsWithNul ? /\0/ : undefined;
  let rest = "";
  try {
    for await (const chunk of stream.setEncoding("utf8") as AsyncIterable<string>) {
      const [, first] = end ? [] : (/([\0\n])/.exec(chunk) ?? []);
      if (first) end = first === "\0" ? /\0/ : /\r?\n/;
      const names = end ? (rest + chunk).split(end) : [rest + chunk];
      rest = names.pop() ?? "";
      if (rest.length > MAX_NAME) {
        throw new EpalmError("too_large", `${argument}: expected names of at most ${MAX_NAME} characters`);
      }
      yield* names.filter((name) => name !== "");
    }
  } catch (error) {
    if (error instanceof EpalmError) throw error;
    throw new EpalmError("invalid_option", `${argument}: cannot be read as a list of names: ${messageOf(error)}`);
  }
  if (rest !== "") yield rest;
}
