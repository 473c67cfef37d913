import type { Document, Element, Node } from "@xmldom/xmldom";
import { EpalmError, messageOf } from "../../core/errors.js";

/** The optional package that reads and writes XML. */
export type Xmldom = typeof import("@xmldom/xmldom");

const RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
const DUBLIN_CORE = "http://purl.org/dc/elements/1.1/";
const XML = "http://www.w3.org/XML/1998/namespace";

const EMPTY = `<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="${RDF}">
  <rdf:Description rdf:about="" xmlns:dc="${DUBLIN_CORE}"/>
 </rdf:RDF>
</x:xmpmeta>
`;

/** What XML 1.0 cannot contain, not even as a reference: control characters, lone surrogates and two others. */
const FORBIDDEN = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu;

/** Parts of XML in which & has no meaning. */
const LITERAL = /<!--[\s\S]*?-->|<!\[CDATA\[[\s\S]*?\]\]>|<\?[\s\S]*?\?>/g;

const STRAY_AMPERSAND = /&(?!(?:#\d+|#x[\da-f]+|amp|lt|gt|quot|apos);)/i;

/**
 * The metadata of one photograph as XMP, of which only the description is read and changed.
 *
 * Source: ISO 16684-1 (XMP): dc:description is a list of alternatives by language, and x-default is its first item.
 */
export class XmpDocument {
  readonly #xmldom: Xmldom;
  readonly #document: Document;
  readonly #rdf: Element;

  private constructor(xmldom: Xmldom, text: string) {
    this.#xmldom = xmldom;
    this.#document = parseXml(xmldom, text);
    const [rdf] = this.#document.getElementsByTagNameNS(RDF, "RDF");
    if (!rdf) throw new EpalmError("invalid_data", "rdf:RDF is missing");
    this.#rdf = rdf;
  }

  static empty(xmldom: Xmldom): XmpDocument {
    return new XmpDocument(xmldom, EMPTY);
  }

  /** @param path for messages. @throws invalid_data if the bytes are not well-formed XMP in UTF-8 */
  static parse(xmldom: Xmldom, bytes: Uint8Array, path: string): XmpDocument {
    try {
      return new XmpDocument(xmldom, new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch (error) {
      const reason = messageOf(error).split("\n")[0];
      throw new EpalmError("invalid_data", `${path}: expected well-formed XMP in UTF-8: ${reason}`, { cause: error });
    }
  }

  /** The description in the default language; undefined if there is none, or a blank one. */
  get description(): string | undefined {
    const texts = this.#subjects.flatMap((subject) => [
      subject.getAttributeNS(DUBLIN_CORE, "description"),
      ...childrenOf(subject, DUBLIN_CORE, "description").map(defaultText),
    ]);
    return texts.find((text) => text != null && text.trim() !== "") ?? undefined;
  }

  /** Replaces the description in the default language, and keeps those in other languages and all other properties. */
  describe(text: string): void {
    for (const subject of this.#subjects) subject.removeAttributeNS(DUBLIN_CORE, "description");
    const [property = this.#added(this.#home(), DUBLIN_CORE, "dc:description"), ...others] = this.#subjects.flatMap(
      (subject) => childrenOf(subject, DUBLIN_CORE, "description"),
    );
    for (const other of others) for (const item of itemsOf(other).filter(isDefault)) item.parentNode?.removeChild(item);
    let [alternatives] = childrenOf(property, RDF, "Alt");
    if (!alternatives) {
      // Some programs write a plain text, which means the same.
      while (property.firstChild) property.removeChild(property.firstChild);
      alternatives = this.#added(property, RDF, "rdf:Alt");
    }
    let item = childrenOf(alternatives, RDF, "li").find(isDefault);
    if (!item) {
      item = this.#document.createElementNS(RDF, "rdf:li");
      item.setAttributeNS(XML, "xml:lang", "x-default");
      alternatives.insertBefore(item, alternatives.firstChild);
    }
    item.textContent = xmlText(text);
  }

  toString(): string {
    const text = new this.#xmldom.XMLSerializer().serializeToString(this.#document);
    // The parser has replaced all carriage returns except those that were references.
    return `${text.replaceAll("\r", "&#13;").trimEnd()}\n`;
  }

  /** The elements whose attributes and children are the properties of the photograph. */
  get #subjects(): Element[] {
    return childrenOf(this.#rdf);
  }

  #home(): Element {
    const [home] = childrenOf(this.#rdf, RDF, "Description");
    if (home) return home;
    const added = this.#added(this.#rdf, RDF, "rdf:Description");
    added.setAttributeNS(RDF, "rdf:about", "");
    return added;
  }

  #added(parent: Element, namespace: string, name: string): Element {
    const child = this.#document.createElementNS(namespace, name);
    parent.appendChild(child);
    return child;
  }
}

/** A text without the characters that XML cannot contain, and with the line breaks of XML. */
export function xmlText(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(FORBIDDEN, "");
}

/** @throws invalid_data if the text is not well-formed; the parser tolerates stray ampersands and control characters */
function parseXml({ DOMParser, XMLSerializer }: Xmldom, text: string): Document {
  const encoding = /^<\?xml[^>]*?encoding\s*=\s*["']([^"']*)/.exec(text)?.[1];
  if (encoding !== undefined && !/^(?:utf-8|us-ascii)$/i.test(encoding))
    throw new EpalmError("invalid_data", `it is in ${encoding}`);
  if (STRAY_AMPERSAND.test(text.replace(LITERAL, ""))) throw new EpalmError("invalid_data", "& without a reference");
  const parser = new DOMParser({
    // XML 1.0; the default of the package, which is that of XML 1.1, also replaces U+0085 and U+2028.
    normalizeLineEndings: (source) => source.replace(/\r\n?/g, "\n"),
    onError: (_level, message) => {
      // The bytes were decoded strictly, so the character is the text's own; captions may end within a character.
      if (!message.startsWith("Unicode replacement character")) throw new EpalmError("invalid_data", message);
    },
  });
  const document = parser.parseFromString(text, "text/xml");
  if (new XMLSerializer().serializeToString(document).search(FORBIDDEN) >= 0)
    throw new EpalmError("invalid_data", "a control character");
  return document;
}

/** Child elements, all or those with a name. */
function childrenOf(parent: Node, namespace?: string, name?: string): Element[] {
  const elements = Array.from(parent.childNodes).filter((node): node is Element => node.nodeType === node.ELEMENT_NODE);
  return elements.filter((element) => {
    return name === undefined || (element.namespaceURI === namespace && element.localName === name);
  });
}

function itemsOf(property: Element): Element[] {
  return childrenOf(property, RDF, "Alt").flatMap((alternatives) => childrenOf(alternatives, RDF, "li"));
}

function isDefault(item: Element): boolean {
  return item.getAttributeNS(XML, "lang")?.toLowerCase() === "x-default";
}

function defaultText(property: Element): string | null | undefined {
  if (childrenOf(property).length === 0) return property.textContent;
  return itemsOf(property).find(isDefault)?.textContent;
}
