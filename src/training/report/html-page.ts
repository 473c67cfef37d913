import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const characters: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Escapes a string for use between tags and in attribute values. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => characters[character] ?? "");
}

/** JSON for a script element, escaped so that no value can end the element. */
export function inlineJson(value: unknown): string {
  return JSON.stringify(value)
    .replace(/</g, "\\u003c")
    .replace(/\u2028|\u2029/g, " ");
}

const style = `
:root { color-scheme: light dark; --ink: #1c2024; --faint: #6b7280; --line: #d9dde3; --card: #fff; --back: #f5f6f8; --accent: #2563eb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --faint: #9aa3af; --line: #343a43; --card: #1c2026; --back: #14171b; --accent: #7aa5ff; }
}
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
section, figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin: 1rem 0; overflow-x: auto; }
table { border-collapse: collapse; } th, td { padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; }
th { color: var(--faint); font-weight: 500; } td.best { color: var(--accent); font-weight: 600; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
.samples figure { margin: 0; } .samples img { display: block; max-width: 100%; border-radius: .3rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .5rem 3rem; font-size: 15px; } h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
  section, figure { padding: .6rem; } th, td { padding-right: .6rem; } td:only-of-type { overflow-wrap: anywhere; }
}
figcaption { margin-top: .6rem; overflow-wrap: anywhere; } .faint { color: var(--faint); }
`;

/** A self-contained page; its content security policy forbids requests. */
export function htmlPage(title: string, body: string): string {
  const require = createRequire(import.meta.url);
  const chartStyle = readFileSync(require.resolve("uplot/dist/uPlot.min.css"), "utf8");
  const chartScript = readFileSync(require.resolve("uplot/dist/uPlot.iife.min.js"), "utf8");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${chartStyle}${style}</style>
<script>${chartScript}</script>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
${body}
</body>
</html>
`;
}
