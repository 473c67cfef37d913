import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import OpenAI from "openai";
import type { Model } from "../../src/index.js";
import { responseObject } from "../../src/server/dialects/responses-schema.js";
import { startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

let client: OpenAI;
let model: Model;
let png: Buffer;
before(async () => {
  const running = await startServer({ models: { tiny: await buildTinyModel() }, logLevel: "silent" });
  model = running.models.get(undefined).model;
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: "none", maxRetries: 0 });
  png = await picture();
});

type Body = Parameters<typeof client.responses.create>[0];

function body(text: string, change: object = {}) {
  const image_url = `data:image/png;base64,${png.toString("base64")}`;
  const content = [
    { type: "input_text", text },
    { type: "input_image", image_url },
  ];
  return { model: "tiny", input: [{ role: "user", content }], max_output_tokens: 8, ...change };
}

const create = async (text: string, change: object = {}) =>
  responseObject.parse(await (await client.responses.create(body(text, change) as Body).asResponse()).json());

describe("POST /v1/responses", () => {
  it("answers a question, and reports tokens and what had no effect", async () => {
    const change = { instructions: "Be brief.", store: true, metadata: { a: "b" }, top_logprobs: 2 };
    const response = await create("what is it?", change);
    const expected = await model.vqa(png, "what is it?", { maxNewTokens: 8 });
    const [text] = response.output[0]?.content ?? [];
    assert.equal(text?.text, expected.text);
    assert.equal(text?.logprobs.length, 8);
    assert.deepEqual([response.status, response.incomplete_details], ["incomplete", { reason: "max_output_tokens" }]);
    const { promptTokens } = expected.usage;
    assert.deepEqual(
      [response.usage?.input_tokens, response.usage?.output_tokens, response.usage?.total_tokens],
      [promptTokens, 8, promptTokens + 8],
    );
    assert.deepEqual(response.epalm?.ignored, ["instructions", "metadata", "store"]);
    assert.equal(response.instructions, "Be brief.");
  });

  it("sends the events of OpenAI in order, whose parts join to the text", async () => {
    const request = body("what is it?", { stream: true, temperature: 1 }) as Body & { readonly stream: true };
    const stream = await client.responses.create(request);
    const types: string[] = [];
    let joined = "";
    for await (const event of stream) {
      assert.equal(event.sequence_number, types.length);
      types.push(event.type);
      if (event.type === "response.output_text.delta") joined += event.delta;
      if (event.type !== "response.incomplete") continue;
      const [item] = event.response.output;
      assert.ok(item?.type === "message" && item.content[0]?.type === "output_text");
      assert.equal(item.content[0].text, joined);
    }
    assert.deepEqual(
      types.filter((type) => type !== "response.output_text.delta"),
      [
        ...["created", "in_progress", "output_item.added", "content_part.added"].map((type) => `response.${type}`),
        ...["output_text.done", "content_part.done", "output_item.done", "incomplete"].map(
          (type) => `response.${type}`,
        ),
      ],
    );
  });

  it("gives the text a form, and null is a value in a schema", async () => {
    const schema = { type: "object", properties: { a: { const: null } }, required: ["a"] };
    const format = { type: "json_schema", name: "thing", schema };
    const response = await create("what is it?", { text: { format }, max_output_tokens: 3 });
    assert.match(response.output[0]?.content[0]?.text ?? "", /^\{"a": ?null\}$/);
  });

  const image = { type: "input_image", image_url: "data:image/png;base64,***" };
  const refused: readonly (readonly [string, object, RegExp])[] = [
    ["an earlier response", { previous_response_id: "resp_1" }, /^previous_response_id: expected no earlier response/],
    ["tools", { tools: [{ type: "web_search" }] }, /^tools: expected no tools/],
    ["a text alone", { input: "what is it?" }, /^input: expected an image, audio or video part/],
    ["a damaged image", { input: [{ role: "user", content: [image] }] }, /^input\[0\]\.content\[0\]\.image_url: /],
    ["an unknown part", { input: [{ role: "user", content: [{ type: "x" }] }] }, /^input\[0\]\.content\[0\]\.type: /],
    ["an item that is no message", { input: [{ type: "item_reference", id: "x" }] }, /^input/],
    [
      "an unsupported schema",
      { text: { format: { type: "json_schema", name: "x", schema: { not: {} } } } },
      /^text\.format\.schema: /,
    ],
    ["a background run", { background: true }, /^background: /],
    ["an unknown key", { max_tokens: 4 }, /^max_tokens: is not a known key/],
  ];
  for (const [what, change, message] of refused) {
    it(`rejects ${what} with 400 and the path`, async () => {
      await assert.rejects(
        client.responses.create(body("what?", { instructions: "x", ...change }) as Body),
        (error) => {
          assert.ok(error instanceof OpenAI.APIError);
          assert.equal(error.status, 400);
          assert.match((error.error as { message: string }).message, message);
          return true;
        },
      );
    });
  }
});
