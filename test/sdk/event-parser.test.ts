import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EpalmConnectionError } from "../../src/sdk/client-errors.js";
import { EventParser } from "../../src/sdk/event-parser.js";

const cases: { readonly title: string; readonly text: string; readonly events: [string, string][] }[] = [
  { title: "an event", text: "event: text\ndata: {}\n\n", events: [["text", "{}"]] },
  { title: "an event without a name", text: "data: x\n\n", events: [["message", "x"]] },
  {
    title: "events with CR LF",
    text: "event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
    events: [
      ["a", "1"],
      ["message", "2"],
    ],
  },
  {
    title: "events with CR",
    text: "event: a\rdata: 1\r\rdata: 2\r\r\n",
    events: [
      ["a", "1"],
      ["message", "2"],
    ],
  },
  { title: "several lines of data", text: "data: 1\ndata:2\ndata\n\n", events: [["message", "1\n2\n"]] },
  {
    title: "comments, ids and times",
    text: ": hello\nid: 7\nretry: 3\ndata: x: y\n\n",
    events: [["message", "x: y"]],
  },
  { title: "a name without data", text: "event: a\n\ndata: 1\n\n", events: [["message", "1"]] },
  { title: "an event that is cut short", text: "data: 1\n\ndata: 2\n", events: [["message", "1"]] },
];

for (const { title, text, events } of cases) {
  test(`parses ${title}, however it is split into pieces`, () => {
    const cuts = fc.array(fc.nat(text.length), { maxLength: 6 });
    fc.assert(
      fc.property(cuts, (places) => {
        const ends = [0, ...places.toSorted((a, b) => a - b), text.length];
        const parser = new EventParser();
        const got = ends.slice(1).flatMap((end, at) => parser.push(text.slice(ends[at], end)));
        assert.deepEqual(
          got.map(({ name, data }) => [name, data]),
          events,
        );
      }),
    );
  });
}

test("rejects an event that is too long", () => {
  const parser = new EventParser();
  const piece = "x".repeat(8 * 1024 * 1024);
  parser.push(`data: ${piece}`);
  assert.throws(() => {
    for (let i = 0; i < 4; i++) parser.push(piece);
  }, EpalmConnectionError);
  const lines = new EventParser();
  assert.throws(() => {
    for (let i = 0; i < 5; i++) lines.push(`data: ${piece}\n`);
  }, EpalmConnectionError);
});
