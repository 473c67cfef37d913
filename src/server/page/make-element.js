/**
 * Creates an element. Strings among the children become text nodes and are never parsed as HTML.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string>>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Returns the element that matches the selector.
 *
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} type
 * @param {ParentNode} within
 * @returns {T}
 * @throws {TypeError} if there is none, or if it has another class
 */
export function find(selector, type, within = document) {
  const element = within.querySelector(selector);
  if (element instanceof type) return element;
  throw new TypeError(`${selector}: expected ${type.name}, got ${element?.tagName ?? "nothing"}`);
}
