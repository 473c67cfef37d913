import assert from "node:assert/strict";
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import * as xmldom from "@xmldom/xmldom";
import { XMLParser } from "fast-xml-parser";
import sharp from "sharp";
import { XmpDocument } from "../../../src/cli/bulk/xmp-document.js";
import { XmpOutput } from "../../../src/cli/bulk/xmp-output.js";
import { buildTiny, epalm, epalmProcess, temporaryFolder, withoutPackage } from "../../support/cli-process.js";
import { tarBytes } from "../../support/tar-bytes.js";

const folder = temporaryFolder();
const model = join(folder, "tiny");
/** The tiny model writes control characters if it may choose. */
const text = `A <cat> & "a dog" 🐈`;
const on = ["--model", model, "--max-tokens", "40", "--threads", "1", "--guided-choice", text];

/** With a rating, keywords, edits and a description as photo managers write them, and unusual prefixes. */
const FOREIGN = `<?xpacket begin="\uFEFF" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Other 1.0">
 <!-- mine & yours -->
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <r:Description r:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmp:Label="a &quot;b&quot;&#10;c &amp; d"
    xmlns:dc="urn:another" dc:odd="1">
   <e:subject xmlns:e="http://purl.org/dc/elements/1.1/"><r:Bag><r:li>cat &lt;3</r:li><r:li>🐈</r:li></r:Bag></e:subject>
   <e:description xmlns:e="http://purl.org/dc/elements/1.1/">
    <r:Alt><r:li xml:lang="de">Eine Katze</r:li></r:Alt>
   </e:description>
  </r:Description>
  <r:Description r:about="" xmlns:d="http://darktable.sf.net/" d:note="x"><d:h><r:Seq><r:li d:p="gz08eJ"/></r:Seq></d:h>
   <d:t>one\u2028two\u0085&#13;<![CDATA[<raw> & ]]></d:t></r:Description>
 </r:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
`;

before(async () => {
  const built = await buildTiny(model);
  assert.equal(built.code, 0, built.stderr);
});

async function photosIn(name: string, names: readonly string[]): Promise<string> {
  const photos = join(folder, name);
  mkdirSync(photos);
  const pixels = { width: 40, height: 30, channels: 3, background: "teal" } as const;
  for (const photo of names) writeFileSync(join(photos, photo), await sharp({ create: pixels }).png().toBuffer());
  return photos;
}

function writeXmp(photos: string, ...args: string[]) {
  return epalm(["caption", photos, ...on, "--xmp", "full-name", ...args]);
}

/** The items of dc:description by language, as another library reads them, whatever the prefixes are. */
function descriptions(xmp: string): Record<string, string> {
  const parser = new XMLParser({
    ...{ ignoreAttributes: false, removeNSPrefix: true, trimValues: false, parseTagValue: false },
    isArray: (name) => ["Description", "li"].includes(name),
  });
  const subjects: { description?: { Alt: { li: { "@_lang": string; "#text": string }[] } } }[] =
    parser.parse(xmp).xmpmeta.RDF.Description;
  const items = subjects.flatMap(({ description }) => description?.Alt.li ?? []);
  return Object.fromEntries(items.map((item) => [item["@_lang"], item["#text"]]));
}

/** Everything in a sidecar except the descriptions, in its order. */
function othersIn(xmp: string): unknown {
  const options = { ignoreAttributes: false, trimValues: false, preserveOrder: true } as const;
  const parser = new XMLParser({
    ...options,
    commentPropName: "comment",
    cdataPropName: "cdata",
    parseTagValue: false,
  });
  return JSON.parse(JSON.stringify(parser.parse(xmp)), (_, value) =>
    Array.isArray(value) ? value.filter((one) => !Object.keys(one).some((key) => key.endsWith(":description"))) : value,
  );
}

function described(xmp: string, caption: string): string {
  const document = XmpDocument.parse(xmldom, Buffer.from(xmp), "a.xmp");
  document.describe(caption);
  return document.toString();
}

describe("an XMP document", () => {
  it("contains any text, without the characters that XML cannot contain", () => {
    for (const [caption, expected = caption] of [
      [`a < b && c > d "e" 'f' ]]> &lt;`],
      ["👩‍👩‍👧 naïve 猫\tand\nmore"],
      ["half a character: \ufffd"],
      ["a\0b\u0008c\ud800d\uffffe", "abcde"],
      ["one\r\ntwo\rthree", "one\ntwo\nthree"],
    ] as const) {
      const document = XmpDocument.empty(xmldom);
      document.describe(caption);
      assert.deepEqual(descriptions(document.toString()), { "x-default": expected });
      const again = XmpDocument.parse(xmldom, Buffer.from(document.toString()), "a.xmp");
      assert.equal(again.description, expected);
    }
  });

  it("keeps everything that others wrote", () => {
    const once = described(FOREIGN, "A cat");
    assert.deepEqual(descriptions(once), { "x-default": "A cat", de: "Eine Katze" });
    assert.deepEqual(othersIn(once), othersIn(FOREIGN));
    assert.match(once, /<r:Alt><rdf:li .*xml:lang="x-default".*<r:li xml:lang="de">/);
    const twice = described(once, "Two cats");
    assert.equal(twice, once.replace("A cat", "Two cats"));
  });

  it("replaces a description in each form that programs write", () => {
    const dc = 'xmlns:dc="http://purl.org/dc/elements/1.1/"';
    const wrap = (inner: string) =>
      `<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:x="adobe:ns:meta/">${inner}</rdf:RDF>`;
    const alternatives = '<rdf:Alt><rdf:li xml:lang="x-default">old</rdf:li></rdf:Alt>';
    for (const inner of [
      `<rdf:Description ${dc} dc:description="old"/>`,
      `<rdf:Description ${dc}><dc:description>old</dc:description></rdf:Description>`,
      `<rdf:Description ${dc}><dc:description>${alternatives}</dc:description></rdf:Description>`,
      `<rdf:Description/><rdf:Description ${dc}><dc:description>${alternatives}</dc:description></rdf:Description>`,
    ]) {
      assert.equal(XmpDocument.parse(xmldom, Buffer.from(wrap(inner)), "a.xmp").description, "old");
      const after = described(wrap(inner), "new");
      assert.deepEqual(descriptions(`<x:xmpmeta xmlns:x="adobe:ns:meta/">${after}</x:xmpmeta>`), {
        "x-default": "new",
      });
      assert.doesNotMatch(after, /old/);
    }
  });

  for (const [what, content] of [
    ["nothing", ""],
    ["no XML", "my notes"],
    ["an open element", FOREIGN.replace("</r:RDF>", "")],
    ["a stray ampersand", FOREIGN.replace("Eine", "& ")],
    ["an unknown entity", FOREIGN.replace("Eine", "&eine;")],
    ["a control character", FOREIGN.replace("Eine", "\u0001")],
    ["an unquoted attribute", FOREIGN.replace('xml:lang="de"', "xml:lang=de")],
    ["an unknown prefix", FOREIGN.replace('r:about=""', 's:about=""')],
    ["two roots", `${FOREIGN}<a/>`],
    ["no RDF", "<svg/>"],
    ["another encoding", `<?xml version="1.0" encoding="latin1"?>${FOREIGN}`],
    ["no UTF-8", Buffer.from(FOREIGN, "utf16le")],
  ] as const) {
    it(`is rejected with ${what}`, () => {
      assert.throws(() => XmpDocument.parse(xmldom, Buffer.from(content), "a.xmp"), {
        code: "invalid_data",
        message: /^a\.xmp: expected well-formed XMP in UTF-8: \S/,
      });
    });
  }
});

describe("--xmp", { concurrency: true }, () => {
  it("writes captions beside the files, once", async () => {
    const photos = await photosIn("once", ["a.png", "b.png", "c.png"]);
    writeFileSync(join(photos, "b.png.xmp"), FOREIGN);
    writeFileSync(join(photos, "c.png.xmp"), described(FOREIGN, "mine"));
    const first = await writeXmp(photos);
    assert.deepEqual([first.code, first.stdout, first.stderr], [0, "", "1 of 3 were already answered\n"]);
    const read = (name: string) => readFileSync(join(photos, name), "utf8");
    assert.deepEqual(descriptions(read("a.png.xmp")), { "x-default": text });
    assert.deepEqual(descriptions(read("b.png.xmp")), { "x-default": text, de: "Eine Katze" });
    assert.deepEqual(othersIn(read("b.png.xmp")), othersIn(FOREIGN));
    assert.equal(read("c.png.xmp"), described(FOREIGN, "mine"));

    rmSync(join(photos, "a.png.xmp"));
    assert.equal((await writeXmp(photos, "--dry-run")).stdout, `${join(photos, "a.png")}\n`);
    assert.equal((await writeXmp(photos)).stderr, "2 of 3 were already answered\n");
    assert.deepEqual(descriptions(read("a.png.xmp")), { "x-default": text });
    assert.equal((await writeXmp(photos, "--on-existing", "overwrite")).code, 0);
    assert.equal(read("c.png.xmp"), described(FOREIGN, text));
    assert.deepEqual(readdirSync(photos).length, 6);
  });

  it("leaves a broken sidecar alone, as an error of its file", async () => {
    const photos = await photosIn("broken", ["a.png", "b.png"]);
    writeFileSync(join(photos, "a.png.xmp"), "<x:xmpmeta>");
    const output = join(folder, "broken.jsonl");
    for (const more of [[], ["--dry-run"], ["--on-existing", "overwrite"], ["--output", output]]) {
      const { code, stderr } = await writeXmp(photos, ...more);
      assert.equal(code, 1);
      assert.match(stderr, /a\.png\.xmp: expected well-formed XMP in UTF-8: /);
      assert.equal(readFileSync(join(photos, "a.png.xmp"), "utf8"), "<x:xmpmeta>");
    }
    assert.deepEqual(readdirSync(photos).sort(), ["a.png", "a.png.xmp", "b.png", "b.png.xmp"]);
  });

  it("also writes the lines of --output, which decide what is resumed", async () => {
    const photos = await photosIn("lines", ["a.png", "b.png"]);
    writeFileSync(join(photos, "a.png.xmp"), "broken");
    const output = join(folder, "lines.jsonl");
    const lines = () =>
      readFileSync(output, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line));
    assert.equal((await writeXmp(photos, "--output", output)).code, 1);
    assert.deepEqual(
      lines().map(({ error }) => error?.code),
      ["invalid_data", undefined],
    );
    writeFileSync(join(photos, "a.png.xmp"), FOREIGN);
    const again = await writeXmp(photos, "--output", output);
    assert.deepEqual([again.code, again.stderr], [0, "1 of 2 were already answered\n"]);
    assert.equal(lines().length, 2);
    for (const line of lines()) {
      assert.equal(line.text, text);
      assert.equal(descriptions(readFileSync(`${line.file}.xmp`, "utf8"))["x-default"], text);
    }
  });

  it("follows links, and replaces no description by a blank text", async () => {
    const photos = await photosIn("links", ["a.png"]);
    const [real, link] = [join(photos, "real"), join(photos, "a.png.xmp")];
    writeFileSync(real, FOREIGN);
    symlinkSync(real, link);
    assert.equal((await writeXmp(photos)).code, 0);
    assert.deepEqual([lstatSync(link).isSymbolicLink(), readFileSync(real, "utf8")], [true, described(FOREIGN, text)]);
    const blank = [...on.slice(0, -1), "\u0001\u0002", "--xmp", "full-name", "--on-existing", "overwrite"];
    const { code, stderr } = await epalm(["caption", photos, ...blank]);
    assert.deepEqual([code, readFileSync(real, "utf8")], [0, described(FOREIGN, text)], stderr);
  });

  it("writes no text in the place of an answer", async () => {
    const photos = await photosIn("unsure", ["a.png"]);
    const xmp = await XmpOutput.open({ form: "full-name", onExisting: "skip", records: undefined });
    const path = join(photos, "a.png");
    const medium = { file: path, source: { kind: "path", path }, questions: [undefined] } as const;
    const timings = { media: 1, encoder: 1, adapter: 1, decoder: 1 };
    const usage = { promptTokens: 1, newTokens: 1 };
    const whole = { model: "m", adapter: "a", modality: "image", text, texts: [], usage, timings } as const;
    const resultOf = (abstained?: true) => ({
      question: undefined,
      reply: { texts: [{ text, score: -1 }], whole: { ...whole, ...(abstained ? { abstained } : {}) } },
    });
    await xmp.write(medium, [resultOf(true)]);
    assert.deepEqual(readdirSync(photos), ["a.png"]);
    await xmp.write(medium, [resultOf()]);
    assert.deepEqual(readdirSync(photos), ["a.png", "a.png.xmp"]);
  });

  it("names the sidecar without the extension on request, for one of two files with the same name", async () => {
    const photos = await photosIn("stems", ["a.png", "b.v2.png"]);
    copyFileSync(join(photos, "a.png"), join(photos, "a.webp"));
    const { code, stderr } = await epalm(["caption", photos, ...on, "--xmp", "stem"]);
    assert.equal(code, 1);
    assert.match(stderr, /a\.webp: .*a\.xmp is the sidecar of another file/);
    const written = readdirSync(photos).filter((name) => name.endsWith(".xmp"));
    assert.deepEqual(written.sort(), ["a.xmp", "b.v2.xmp"]);
  });

  it("rejects what it cannot do", async () => {
    const photos = await photosIn("rejected", ["a.png"]);
    const tar = join(folder, "in.tar");
    writeFileSync(tar, await tarBytes([{ name: "x.png", bytes: readFileSync(join(photos, "a.png")) }]));
    for (const [args, expected] of [
      [["caption", tar, "--xmp", "stem"], /--xmp: .*in\.tar\/x\.png is not a file/],
      [["caption", photos, "--xmp", "stem", "--on-existing", "append"], /--on-existing: expected skip or overwrite/],
      [["caption", photos, "--xmp", "stem", "--sidecar", "txt"], /'--xmp <name>' cannot be used with .*--sidecar/],
      [["caption", photos, "--on-existing", "skip"], /--on-existing: expected --sidecar or --xmp with it/],
      [["vqa", photos, "-q", "what?", "--xmp", "stem"], /unknown option '--xmp'/],
    ] as const) {
      const { code, stderr } = await epalm([...args, ...on]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, expected);
    }
    assert.deepEqual(readdirSync(photos), ["a.png"]);
  });

  it("names the package that is missing", async () => {
    const photos = await photosIn("missing", ["a.png"]);
    const args = ["caption", photos, ...on, "--xmp", "full-name", "--dry-run"];
    const { code, stderr } = await epalmProcess(args, { env: withoutPackage("@xmldom/xmldom") });
    assert.equal(code, 2, stderr);
    assert.match(stderr, /--xmp: expected the optional package @xmldom\/xmldom; run: npm install @xmldom\/xmldom/);
  });
});
