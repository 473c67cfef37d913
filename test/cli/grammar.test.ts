import assert from "node:assert/strict";
import { test } from "node:test";
import { declaredCommands } from "../support/declared-commands.js";

/* Options with the same name have the same form in all commands. */

const options = declaredCommands.flatMap(({ path, options }) =>
  options.map((option) => ({ command: path.join(" "), ...option })),
);
const longs = new Set(options.map(({ long }) => long));

/** Options whose value differs from that in other commands: here, files to add rather than the name of an adapter. */
const otherValues = new Set(["epalm build --adapter"]);

for (const long of longs) {
  test(`${long} is the same in all commands`, () => {
    const same = options.filter((option) => option.long === long);
    assert.equal(new Set(same.map(({ short }) => short)).size, 1, "one short form");
    const values = same.filter(({ command }) => !otherValues.has(`${command} ${long}`)).map(({ value }) => value);
    for (const value of values) assert.deepEqual(value, values[0]);
  });
}

test("a short form belongs to one option", () => {
  for (const short of new Set(options.flatMap((option) => option.short ?? []))) {
    assert.equal(new Set(options.filter((option) => option.short === short).map(({ long }) => long)).size, 1, short);
  }
});

test("every command that prints a result prints it as JSON on request", () => {
  const withJson = new Set(options.filter(({ long }) => long === "--json").map(({ command }) => command));
  // The service logs JSON anyway, and batches are JSON; groups of commands, help and scripts have no results.
  const without = ["epalm serve", "epalm worker", "epalm batch", "epalm completion"];
  for (const { path, children } of declaredCommands) {
    const command = path.join(" ");
    if (children.length > 0 || path.at(-1) === "help" || without.includes(command)) continue;
    assert.ok(withJson.has(command), command);
  }
});
