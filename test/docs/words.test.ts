import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { fedMaeConfigSchema } from "../../src/fedmae/config.js";
import { serverConfigSchema } from "../../src/server/config.js";
import { trainingConfigSchema } from "../../src/training/adapter/config.js";
import { declaredCommands, program } from "../support/declared-commands.js";
import { blocksOf, commandLines, pages } from "./pages.js";

/*
 * Checks that everything the pages name exists: commands, options, config keys, scripts and other pages. This includes
 * the blocks that `examples.test.ts` does not run.
 */

const commands = new Map(declaredCommands.map((command) => [command.path.join(" "), command]));
const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };

const blocks = pages.flatMap(blocksOf);
const WORD = /"[^"]*"|'[^']*'|[^\s"']+/g;

/** The words of each call of epalm in a line, including calls after pipes and `&&` and in `<(…)`. */
function callsIn(line: string): string[][] {
  return line.split(/\|+|&&|;|<\(|\)(?=\s|$)/).flatMap((part) => {
    const words: string[] = part.match(WORD) ?? [];
    const at = words.indexOf("epalm");
    const isCall = at === 0 || (at === 1 && words[0] === "npx");
    return isCall ? [words.slice(at)] : [];
  });
}

/** Descriptions of the faults of a call. */
function faultsOf(words: readonly string[]): string[] {
  let path = "";
  for (const word of words) {
    const next = path === "" ? word : `${path} ${word}`;
    if (!commands.has(next)) break;
    path = next;
  }
  const command = commands.get(path);
  if (!command || (command.children.length > 0 && words.length > 1 && !words[1]?.startsWith("-")))
    return [`no command: ${words.join(" ")}`];
  const known = new Set(command.options.flatMap(({ long, short }) => [long, short]));
  return words
    .filter((word) => /^--?[a-z]/i.test(word) && !known.has(word.replace(/=.*$/, "")))
    .map((word) => `${path}: no option ${word}`);
}

test("finds faults in an example", () => {
  assert.deepEqual(faultsOf(["epalm", "caption", "a.jpg", "--modle", "m"]), ["epalm caption: no option --modle"]);
  assert.deepEqual(faultsOf(["epalm", "captoin"]), ["no command: epalm captoin"]);
  assert.equal(callsIn("curl x | npx epalm caption - && epalm inspect m").length, 2);
});

for (const block of blocks.filter(({ language }) => language === "sh")) {
  test(`uses existing commands, options and scripts: ${block.page}:${block.line}`, () => {
    for (const line of commandLines(block.code)) {
      assert.deepEqual(callsIn(line).flatMap(faultsOf), [], line);
      const [, script] = /\bnpm run ([\w:]+)/.exec(line) ?? [];
      if (script !== undefined) assert.ok(Object.hasOwn(scripts, script), line);
    }
  });
}

describe("examples in --help", () => {
  for (const command of program.commands.flatMap((one) => [one, ...one.commands])) {
    test(`use existing options: ${command.name()}`, () => {
      const help: string[] = [];
      command.configureOutput({ writeOut: (text) => help.push(text), getOutHasColors: () => false });
      command.outputHelp();
      const [, examples = ""] = help.join("").split("\nExamples:\n");
      for (const line of commandLines(examples)) assert.deepEqual(callsIn(line).flatMap(faultsOf), [], line);
    });
  }
});

const configs = blocks.filter(({ language, notRun }) => language === "yaml" && notRun === undefined);
for (const { page, line, code } of configs) {
  test(`uses existing config keys: ${page}:${line}`, () => {
    const config = parse(code) as Record<string, unknown>;
    const schema =
      "data" in config ? trainingConfigSchema : "clients" in config ? fedMaeConfigSchema : serverConfigSchema;
    const { error } = schema.safeParse(config);
    assert.equal(error?.message, undefined);
  });
}

for (const { page, line, code } of blocks.filter(({ language }) => language === "json")) {
  test(`contains valid JSON: ${page}:${line}`, () => {
    assert.ok(JSON.parse(code));
  });
}

for (const page of pages) {
  test(`links to existing files: ${page}`, () => {
    const text = readFileSync(page, "utf8");
    for (const [, target = ""] of text.matchAll(/\]\(([^)#\s]+)(?:#[\w-]*)?\)/g)) {
      if (!/^https?:/.test(target)) assert.ok(existsSync(join(dirname(page), target)), target);
    }
  });
}

test("the README links to every page and fits on two screens", () => {
  const readme = readFileSync("README.md", "utf8");
  for (const page of pages.slice(1)) assert.ok(readme.includes(`](${page})`), page);
  assert.ok(readme.split("\n").length <= 110);
});
