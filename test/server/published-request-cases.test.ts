import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { type ListAnswer, listAnswer, type TextAnswer, textAnswer } from "../../src/wire.js";
import { buildAllSensesModel } from "../support/all-modalities-model.js";
import { postJson, problemIn, type Running, startServer } from "../support/running-server.js";

/** Requests as widely used programs send them. */
const CASES = "test/fixtures/cases";

let running: Running;
before(async () => {
  running = await startServer({ models: { default: await buildAllSensesModel() }, logLevel: "silent" });
});

function caseBytes(name: string): Buffer {
  return readFileSync(join(CASES, name));
}

function postBody(path: string, body: Uint8Array | string): Promise<Response> {
  const headers = { "content-type": "multipart/form-data; boundary=XX" };
  return fetch(running.url + path, { method: "POST", headers, body: new Uint8Array(Buffer.from(body)) });
}

function postCase(path: string, name: string): Promise<Response> {
  if (name.endsWith(".body")) return postBody(path, caseBytes(name));
  return postJson(running.url + path, JSON.parse(caseBytes(name).toString()));
}

async function texts(response: Response): Promise<TextAnswer["texts"]> {
  const body = await response.text();
  assert.equal(response.status, 200, body);
  return textAnswer.parse(JSON.parse(body)).texts;
}

async function answers(response: Response): Promise<ListAnswer["answers"]> {
  const body = await response.text();
  assert.equal(response.status, 200, body);
  return listAnswer.parse(JSON.parse(body)).answers;
}

/** A part of a form. */
interface Part {
  readonly name: string;
  readonly value: string | Buffer;
  /** Further headers, and parameters of the first. */
  readonly head?: string;
}

const png = (): Buffer => {
  const { image } = JSON.parse(caseBytes("caption-base64-wrapped.json").toString()) as { image: string };
  return Buffer.from(image, "base64");
};

function formOf(...parts: readonly Part[]): Buffer {
  const all: readonly Part[] = [
    ...parts,
    { name: "image", value: png(), head: '; filename="a.png"\r\nContent-Type: image/png' },
  ];
  const pieces = all.flatMap(({ name, value, head = "" }) => [
    Buffer.from(`--XX\r\nContent-Disposition: form-data; name="${name}"${head}\r\n\r\n`),
    typeof value === "string" ? Buffer.from(value) : value,
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([...pieces, Buffer.from("--XX--\r\n")]);
}

const JSON_PART = "\r\nContent-Type: application/json";

describe("a form", () => {
  for (const name of ["form-candidates-json-list.body", "form-candidates-brackets.body"]) {
    it(`ranks the candidates of ${name}`, async () => {
      const ranked = await texts(await postCase("/vqa", name));
      assert.deepEqual(ranked.map(({ text }) => text).sort(), ["an apple", "a star"].sort());
    });
  }

  it("answers the questions of form-question-json-list.body", async () => {
    const given = await answers(await postCase("/vqa", "form-question-json-list.body"));
    assert.deepEqual(
      given.map(({ question }) => question),
      ["what is it?", "what color is it?"],
    );
  });

  it("rejects form-question-json-invalid.body and names the field", async () => {
    const { field, detail } = await problemIn(await postCase("/vqa", "form-question-json-invalid.body"), 400);
    assert.equal(field, "question");
    assert.match(detail, /not valid JSON/);
  });

  it("answers form-file-without-filename.body like the same form with a file name", async () => {
    const bare = await texts(await postCase("/vqa", "form-file-without-filename.body"));
    const named = await texts(await postBody("/vqa", formOf({ name: "question", value: "what is it?" })));
    assert.deepEqual(bare, named);
  });

  it("rejects form-two-files.body, which has two media", async () => {
    const { detail } = await problemIn(await postCase("/vqa", "form-two-files.body"), 400);
    assert.match(detail, /expected one medium, got image and image/);
  });

  it("accepts True in form-python-bool.body as true", async () => {
    const [text] = await texts(await postCase("/caption", "form-python-bool.body"));
    assert.ok(text?.tokens);
  });

  const question = { name: "question", value: "what is it?" };
  const ranked: Readonly<Record<string, readonly Part[]>> = {
    "list elements with an index": [
      { name: "candidates[1]", value: "a star" },
      { name: "candidates[0]", value: "an apple" },
    ],
    "JSON strings": [
      { name: "candidates", value: '"an apple"', head: JSON_PART },
      { name: "candidates", value: '"a star"', head: `${JSON_PART}; charset=utf-8` },
    ],
    "a JSON file, as browsers send blobs": [
      { name: "candidates", value: '["an apple", "a star"]', head: `; filename="blob"${JSON_PART}` },
    ],
    "JSON under a name with brackets": [{ name: "candidates[]", value: '["an apple", "a star"]', head: JSON_PART }],
    "empty fields": [
      ...["model", "adapter", "stream", "max_tokens", "stop", "rank_by", "video", "logprobs"].map((name) => ({
        name,
        value: "",
      })),
      { name: "seed", value: "null", head: JSON_PART },
      { name: "media", value: "", head: '; filename=""\r\nContent-Type: application/octet-stream' },
      { name: "candidates", value: "an apple" },
      { name: "candidates", value: "a star" },
    ],
  };
  for (const [what, parts] of Object.entries(ranked)) {
    it(`ranks candidates in a form with ${what}`, async () => {
      const given = await texts(await postBody("/vqa", formOf(question, ...parts)));
      const byIndex = given.toSorted((a, b) => (a.index ?? 0) - (b.index ?? 0)).map(({ text }) => text);
      assert.deepEqual(byIndex, ["an apple", "a star"]);
    });
  }

  const invalid: Readonly<Record<string, readonly [readonly Part[], RegExp]>> = {
    "an object in JSON": [[{ name: "candidates", value: "{}", head: JSON_PART }], /candidates\[0\]: expected a string/],
    "a list where one value is expected": [[{ name: "max_tokens[]", value: "5" }], /max_tokens: .*got a list/],
    "numbers as JSON strings": [[{ name: "max_tokens", value: '"5"', head: JSON_PART }], /max_tokens: .*got "5"/],
    "both forms of a name": [
      ["candidates", "candidates[]"].map((name) => ({ name, value: "x" })),
      /candidates: cannot be combined with candidates\[\]/,
    ],
    "an empty element of a list": [
      ["x", "", "y"].map((value) => ({ name: "candidates", value })),
      /candidates\[1\]: expected a string of at least 1 character/,
    ],
    "only an empty question": [[{ name: "question", value: "" }], /question: expected a string or a list/],
    "another word than true or false": [[{ name: "logprobs", value: "Yes" }], /logprobs: expected true or false/],
    "bytes that are not UTF-8": [[{ name: "model", value: Buffer.from([0xe9]) }], /model: expected text in UTF-8/],
    "text under the name of another medium": [[{ name: "video", value: "AAAA" }], /expected one medium/],
    "a part without a name": [[{ name: "", value: "x" }], /a part has no name/],
    "the name of a prototype": [[{ name: "__proto__", value: "x" }], /prototype property is not allowed as field name/],
    "another name of a prototype": [
      [{ name: "constructor", value: "x" }],
      /prototype property is not allowed as field name/,
    ],
    "a file that is no medium": [
      [{ name: "question", value: "x", head: '; filename="a.txt"\r\nContent-Type: text/plain' }],
      /question: expected no file/,
    ],
  };
  for (const [what, [parts, expected]] of Object.entries(invalid)) {
    it(`with ${what} is rejected`, async () => {
      const others = parts.some(({ name }) => name === "question") ? [] : [question];
      const { detail } = await problemIn(await postBody("/vqa", formOf(...others, ...parts)), 400);
      assert.match(detail, expected);
    });
  }
});

describe("a medium in JSON", () => {
  const cases = [
    "caption-base64-wrapped.json",
    "caption-dataurl-space.json",
    "caption-dataurl-percent.json",
    "caption-dataurl-two-codecs.json",
    "caption-svg-dataurl.json",
  ];
  for (const name of cases) {
    it(`gets the caption that the library gives: ${name}`, async () => {
      const [given] = await texts(await postCase("/caption", name));
      const [[field, text] = ["", ""]] = Object.entries(JSON.parse(caseBytes(name).toString()) as object) as [
        string,
        string,
      ][];
      const url = new URL(text.startsWith("data:") ? text : `data:;base64,${text}`);
      const modality = field === "video" ? "video" : "image";
      const medium = await running.models.get(undefined).model.encode(url, { modality });
      assert.equal(given?.text, (await medium.caption()).text);
    });
  }
});

describe("a chat request", () => {
  for (const name of ["temperature-null", "all-null", "image_url-text", "detail-original"]) {
    it(`gets the same answer as chat-ok.json: chat-${name}.json`, async () => {
      const content = async (file: string) => {
        const response = await postCase("/v1/chat/completions", file);
        const body = await response.text();
        assert.equal(response.status, 200, body);
        return (JSON.parse(body) as { choices: unknown }).choices;
      };
      assert.deepEqual(await content(`chat-${name}.json`), await content("chat-ok.json"));
    });
  }

  it("treats null as absent under any key, also an unknown one", async () => {
    const body = JSON.parse(caseBytes("chat-ok.json").toString()) as { messages: [{ content: [object, object] }] };
    const [message] = body.messages;
    const nulls = { tools: null, logit_bias: null, stream_options: { include_usage: null }, reasoning_effort: null };
    const content = message.content.map((part) => ({ ...part, cache_control: null }));
    const messages = [{ ...message, content, name: null }];
    const response = await postJson(`${running.url}/v1/chat/completions`, { ...body, ...nulls, messages });
    assert.equal(response.status, 200, await response.text());
  });
});
