import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { decodeBase64, decodeDataUrl } from "../../src/core/encoded-bytes.js";
import { EpalmError } from "../../src/core/errors.js";

const LIMIT = 1000;
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

describe("base64", () => {
  it("gives the encoded bytes, with either alphabet and any whitespace, padding and escapes", () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
    const kinds = fc.constantFrom("base64", "base64url");
    fc.assert(
      fc.property(bytes, kinds, fc.integer({ min: 1, max: 80 }), fc.boolean(), (bytes, kind, width, escaped) => {
        const plain = Buffer.from(bytes)
          .toString(kind)
          .replace(new RegExp(`.{${width}}`, "g"), "$&\r\n\t ");
        const encoded = escaped ? plain.replace(/[+/=]/g, encodeURIComponent) : plain;
        assert.deepEqual(decodeBase64(encoded, LIMIT), new Uint8Array(bytes));
        assert.deepEqual(decodeDataUrl(` data:image/png;base64,${encoded}#part`, LIMIT), new Uint8Array(bytes));
      }),
    );
  });

  for (const invalid of ["", " ", "A", "AAAAA", "AA=A", "AAA===", "=", "A*AA", "AAAA%2", "AAAA%zz", "é"]) {
    it(`is rejected if it is invalid: '${invalid}'`, () => {
      assert.throws(() => decodeBase64(invalid, LIMIT), { name: "EpalmError", code: "invalid_option" });
    });
  }

  it("has a limit on its bytes, not on its characters", () => {
    assert.equal(decodeBase64(`${"A".repeat(8)}${"\n".repeat(100)}`, 6).length, 6);
    for (const length of [10, 12, 400]) {
      assert.throws(() => decodeBase64("A".repeat(length), 6), { code: "too_large" });
    }
  });
});

describe("a data URL", () => {
  const urls: Readonly<Record<string, string>> = {
    "data:,a%20b": "a b",
    "DATA:text/plain;charset=utf-8,é%": "é%",
    "data:;base64,aGk=": "hi",
    "data:video/webm;codecs=vp8,opus;base64,aGk=": "hi",
    'data:video/webm;codecs="vp8,opus";base64,aGk=': "hi",
    'data:video/webm;codecs="vp8, opus";name="a;base64,b";BASE64,aGk=': "hi",
    "data:video/webm;codecs=%22vp8%2C%20opus%22;base64,aGk=": "hi",
    "data: image/png ; base64 , aGk=": "hi",
    "data:image/png;a=1;a=2;name=x.png;base64,aG%6B%3D": "hi",
    "data:image/png;base64;name=x.png,aGk=": "hi",
    "data:image/svg+xml;utf8,<svg fill='#f00'>,</svg>": "<svg fill='#f00'>,</svg>",
    "data:image/svg+xml,%3Csvg%3E%3C/svg%3E": "<svg></svg>",
    "data:image/svg+xml;charset=utf-8,<svg xmlns='x'><image href='data:image/png;base64,aGk='/></svg>":
      "<svg xmlns='x'><image href='data:image/png;base64,aGk='/></svg>",
    'data:image/svg+xml;utf8,<svg id="a;base64,b"/>': '<svg id="a;base64,b"/>',
  };
  for (const [url, expected] of Object.entries(urls)) {
    it(`is decoded as a string and as a URL: ${url}`, () => {
      assert.equal(text(decodeDataUrl(url, LIMIT)), expected);
      assert.equal(text(decodeDataUrl(new URL(url).href, LIMIT)), expected);
    });
  }

  it("is decoded or rejected with an error of the catalogue, whatever it contains", () => {
    const pieces = fc.constantFrom(
      "data:",
      ";",
      ",",
      "base64",
      '"',
      "%22",
      "=",
      " ",
      "a",
      "%",
      "#",
      "<",
      "é",
      "/",
      "\\",
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        try {
          decodeDataUrl(`data:${parts.join("")}`, LIMIT);
        } catch (error) {
          assert.ok(error instanceof EpalmError);
        }
      }),
    );
  });
});
