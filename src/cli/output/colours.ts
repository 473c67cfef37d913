import type { WriteStream } from "node:tty";
import type { Environment } from "../../core/environment.js";

/** The SGR codes that begin and end each style. */
const styles = { bold: [1, 22], red: [31, 39] } as const;

/** Adds a style to a string. */
export function styled(style: keyof typeof styles, text: string): string {
  const [begin, end] = styles[style];
  return `\x1b[${begin}m${text}\x1b[${end}m`;
}

/** Whether output to a stream may contain styles. */
export function hasColours(stream: WriteStream, { colours }: Pick<Environment, "colours">): boolean {
  switch (colours) {
    case "never":
      return false;
    case "always":
      return true;
    case "on terminals":
      return stream.isTTY && stream.hasColors();
    default:
      return colours satisfies never;
  }
}

/** Sets the headings of a help text, such as `Examples:`, in bold. */
export function styleHeadings(help: string): string {
  return help.replace(/^\w[\w ]*:$/gm, (heading) => styled("bold", heading));
}
