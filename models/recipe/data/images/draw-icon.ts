import { iconSet, type Style } from "../text/concepts.js";

/** An icon as a complete SVG document. */
export function iconSvg(style: Style, name: string): string {
  const { icons, width: setWidth = 16, height: setHeight = 16 } = iconSet(style);
  const icon = icons[name];
  const { width = setWidth, height = setHeight, left = 0, top = 0 } = icon ?? {};
  return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${left} ${top} ${width} ${height}" width="${width}" height="${height}">${icon?.body ?? ""}</svg>`;
}
