/** Documents whose nesting, number of values or size would exhaust memory or the stack, and ambiguous ones. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readAdapter } from "../../src/adapter/adapter-file.js";
import { describeCheckpoint } from "../../src/cli/output/describe-checkpoint.js";
import { formatCheckpoint } from "../../src/cli/output/format-checkpoint.js";
import { readYaml } from "../../src/core/files/config-file.js";
import { readJsonFile } from "../../src/core/json.js";
import { scanJson } from "../../src/core/scan-json.js";
import { openCheckpoint } from "../../src/formats/open-checkpoint.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeZip } from "../support/write-zip.js";

const folder = temporaryFolder();

function write(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function safetensors(name: string, header: string): string {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return write(name, Buffer.concat([length, Buffer.from(header)]));
}

/** A header of tensors without elements. */
function emptyTensors(count: number): string {
  const entries = Array.from({ length: count }, (_, i) => `"t${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`);
  return `{${entries.join(",")}}`;
}

function torchFile(name: string, pickle: Buffer): string {
  const path = join(folder, name);
  writeZip(path, { "archive/data.pkl": pickle });
  return path;
}

const refusal = (path: string, code: string, message: RegExp) => (error: unknown) => {
  const { code: own, message: text } = error as { code: string; message: string };
  assert.ok(text.startsWith(path), text);
  assert.equal(own, code, text);
  assert.match(text, message);
  return true;
};

/** Milliseconds; far more than a scan takes on a busy machine, and far less than parsing would. */
const SOON = 10_000;

async function soon(work: () => unknown): Promise<void> {
  const started = performance.now();
  await work();
  const took = performance.now() - started;
  assert.ok(took < SOON, `${took} ms`);
}

describe("the scan of JSON", () => {
  const passing = [
    '{"a": [1, {"b": "}]["}], "b\\"": {"a": 1}}',
    '"',
    "]]]",
    '{"a',
    '"\\',
    "{'a'}",
    "",
    '[{"a":1},{"a":1}]',
  ];
  for (const text of passing) {
    it(`leaves text within the bounds to the parser: ${text}`, () => {
      assert.doesNotThrow(() => scanJson(text, { maxValues: 20, uniqueKeys: true }));
    });
  }

  const duplicates = [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061" : 2}',
    '[{"x":{"__proto__":1,"__proto__":2}}]',
    '{"a":{},"b":1,"a":[]}',
  ];
  for (const text of duplicates) {
    it(`finds a key that an object contains twice: ${text}`, () => {
      assert.throws(() => scanJson(text, { uniqueKeys: true }), { message: /contains the key '(a|__proto__)' twice/ });
      assert.doesNotThrow(() => scanJson(text, {}));
    });
  }

  it("counts values and levels exactly", () => {
    assert.doesNotThrow(() => scanJson("[1,2,3]", { maxValues: 4 }));
    assert.throws(() => scanJson("[1,2,3]", { maxValues: 3 }), {
      message: "size: expected at most 3 values, got more",
    });
    assert.doesNotThrow(() => scanJson(`${"[".repeat(64)}${"]".repeat(64)}`, {}));
    assert.throws(() => scanJson("[".repeat(65), {}), { message: "nesting: expected at most 64 levels, got more" });
  });
});

describe("hostile documents", () => {
  it("of JSON are rejected with the file and the limit before they are parsed", async () => {
    for (const [open, close] of [
      ["[", "]"],
      ['{"a":', "}"],
    ] as const) {
      const path = write("deep.json", `${open.repeat(1_000_000)}${close.repeat(1_000_000)}`);
      const read = () => readJsonFile(path, 2 ** 30, "invalid_checkpoint");
      await soon(() => assert.throws(read, refusal(path, "invalid_checkpoint", /nesting: expected at most 64 levels/)));
    }
    const index = write("model.safetensors.index.json", `{"weight_map": [${"{},".repeat(2_000_000)}1]}`);
    await assert.rejects(openCheckpoint(index), refusal(index, "invalid_checkpoint", /at most 1000000 values/));
  });

  const yaml: [string, string][] = [
    ["flow sequences", "[".repeat(5000)],
    ["closed flow sequences", `${"[".repeat(5000)}${"]".repeat(5000)}`],
    ["flow mappings", "{a: ".repeat(5000)],
    ["sequences on one line", `${"- ".repeat(5000)}a`],
    ["keys on one line", `${"? ".repeat(5000)}a`],
    ["block mappings", Array.from({ length: 1000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n")],
    ["block sequences", Array.from({ length: 1000 }, (_, i) => `${"  ".repeat(i)}- a:`).join("\n")],
  ];
  for (const [what, text] of yaml) {
    it(`of YAML are rejected with the file and the limit: ${what}`, async () => {
      const path = write("deep.yaml", text);
      const message = /^\S+: nesting: expected at most 64 levels, got more$/;
      await soon(() => assert.throws(() => readYaml(path), refusal(path, "invalid_option", message)));
    });
  }

  it("that only look nested are read", () => {
    const text = `a: "${"[".repeat(100)}"\nb: ${"x[".repeat(100)}\nc: |\n${" ".repeat(100)}deep # ${"{".repeat(100)}\n`;
    const { a } = readYaml(write("shallow.yaml", text)) as { a: string };
    assert.equal(a.length, 100);
  });

  it("of safetensors headers are rejected with the file and the limit", async () => {
    const cases: [string, RegExp][] = [
      ["[".repeat(20_000_000), /the safetensors header: nesting: expected at most 64 levels/],
      ["[".repeat(40_000_000), /the safetensors header claims 40000000 bytes, expected at most 25000000/],
      [emptyTensors(120_000), /contains 120000 tensors, expected at most 100000/],
      [`{${'"a":{},'.repeat(2_100_000)}"b":{}}`, /contains the key 'a' twice/],
      [`{"a":[${"[],".repeat(2_100_000)}1]}`, /at most 2000000 values/],
    ];
    for (const [header, message] of cases) {
      const path = safetensors("hostile.safetensors", header);
      await soon(() => assert.throws(() => openSafetensors(path), refusal(path, "invalid_checkpoint", message)));
    }
  });

  it("with names that occur twice are rejected, wherever they are in a safetensors header", () => {
    const entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}';
    const headers: [string, string][] = [
      [`{"a":${entry},"a":${entry}}`, "a"],
      [`{"a":${entry},"\\u0061":${entry}}`, "a"],
      [`{"__metadata__":{},"__metadata__":{"x":"y"}}`, "__metadata__"],
      [`{"__metadata__":{"x":"1","x":"2"}}`, "x"],
      ['{"a":{"dtype":"F32","shape":[0],"shape":[0,0],"data_offsets":[0,0]}}', "shape"],
    ];
    for (const [header, key] of headers) {
      const path = safetensors("twice.safetensors", header);
      const message = new RegExp(`contains the key '${key}' twice`);
      assert.throws(() => openSafetensors(path), refusal(path, "invalid_checkpoint", message));
    }
  });

  it("that a safetensors file may contain are described, however many tensors there are", async () => {
    const path = safetensors("many.safetensors", emptyTensors(100_000));
    assert.match(formatCheckpoint(await describeCheckpoint(path)), /: safetensors, 100000 tensors/);
  });

  it("of adapters are rejected soon, because a service reads them while it runs", async () => {
    const many = safetensors("adapter.safetensors", emptyTensors(90_000));
    await soon(() => assert.rejects(readAdapter(many), refusal(many, "invalid_checkpoint", /at most 41280 values/)));
    const none = Buffer.alloc(1_500_000, "N0");
    const pickle = Buffer.concat([Buffer.from([0x80, 2]), none, Buffer.from("}.")]);
    const torch = torchFile("adapter.pth", pickle);
    await soon(() =>
      assert.rejects(readAdapter(torch), refusal(torch, "invalid_checkpoint", /more than 412800 opcodes/)),
    );
  });

  it("of nested tuples in a pickle are described without their depth", async () => {
    const name = Buffer.from("X\u0004\0\0\0deep");
    for (const [nested, opening] of [
      [Buffer.alloc(500_000, 0x85), ")"],
      [Buffer.alloc(500_000, Buffer.from([0x4e, 0x86])), ")"],
    ] as const) {
      const value = Buffer.concat([Buffer.from(opening), nested]);
      for (const parts of [
        ["}", name, value, "s."],
        [value, "."],
        ["}", value, name, "s."],
      ]) {
        const path = torchFile(
          "nested.pth",
          Buffer.concat([Buffer.from([0x80, 2]), ...parts.map((part) => Buffer.from(part))]),
        );
        const message = /contains no (tensors|dict)/;
        await assert.rejects(describeCheckpoint(path), refusal(path, "invalid_checkpoint", message));
      }
    }
  });
});
