import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { Browser, Page } from "puppeteer-core";
import { BUNDLED_MODEL } from "../../../src/model/bundled-model.js";
import { readSampleNotes } from "../../../src/model/sample-notes.js";
import { parseServerConfig } from "../../../src/server/config.js";
import { createServer } from "../../../src/server/http/create-server.js";
import { Models } from "../../../src/server/models.js";
import { buildAllSensesModel } from "../../support/all-modalities-model.js";
import { findChromium, type Screen, startChromium, textsOf, ticket, waitForCount } from "../../support/chromium.js";
import { lacksEncoder, makeMedia, threeColours, tone } from "../../support/make-media.js";
import { startServer } from "../../support/running-server.js";
import { buildTinyModel, picture, temporaryFolder } from "../../support/tiny-model.js";
import { buildTinyVlm, VLM_PHOTO } from "../../support/tiny-vlm.js";

/** The page in a real browser, against a real service. */

const KEY = "a-key-of-sixteen-or-more";
const ARTIFACTS = "test-artifacts";

const executable = findChromium();
const skip = executable === undefined && "no Chromium: install one, or set CHROMIUM_PATH";

const files = temporaryFolder();
const folder = await buildTinyModel();
mkdirSync(join(folder, "samples"));
for (const [name, seed] of Object.entries({ "red-bus.png": 31, "night-sky.png": 3, "hills.png": 11 })) {
  writeFileSync(join(folder, "samples", name), await picture(seed, 90, 60));
}
const markup = join(files, "<b>bold<b>.png");
writeFileSync(markup, await picture());
const photo = join(files, "photo.png");
writeFileSync(photo, await picture(13, 300, 200));
const running = await startServer({ models: { tiny: folder }, logLevel: "silent" });

let browser: Browser;
before(async () => {
  if (executable !== undefined) browser = await startChromium(executable);
});
after(() => browser?.close());

test("shows and captions a chosen image and streams the answer to a question", { skip }, async () => {
  const { page, complaints, origins } = await ticket(browser, running.url);
  await choose(page, photo);
  await waitForCount(page, ".how", 1);
  assert.equal(await page.evaluate("document.querySelector('#figure img').naturalWidth"), 300);
  const [caption = ""] = await textsOf(page, ".answer");
  assert.ok(caption.length > 0);
  assert.deepEqual(await textsOf(page, "#status"), [`Caption: ${caption}`]);

  await page.click("#options summary");
  await page.type("[name=beams]", "1");
  await page.evaluate(WATCH_ANSWER);
  await page.type("#question", "What is <i>this</i>?");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".how", 2);
  assert.deepEqual(await textsOf(page, ".question"), ["What is <i>this</i>?"]);
  const [, answer = ""] = await textsOf(page, ".answer");
  const grown = (await page.evaluate("grown")) as string[];
  assert.ok(grown.length > 2, `grew in ${grown.length} steps`);
  for (const [at, text] of grown.entries()) assert.ok(text.startsWith(grown[at - 1] ?? ""));
  assert.ok(grown.at(-1)?.trim().startsWith(answer));

  await page.click("#options summary");
  await page.click(".turn:first-child .how summary");
  const percents = await textsOf(page, ".turn:first-child .percent");
  assert.ok(percents.length > 0);
  for (const percent of percents) assert.match(percent, /^(<1|\d+)%$/);
  const shades = "getComputedStyle(document.querySelector('.tokens li')).getPropertyValue('--unsure')";
  assert.match(String(await page.evaluate(shades)), /^[01]\.\d+$/);
  const stages = await textsOf(page, ".turn:first-child th");
  assert.deepEqual(stages, ["queue", "media", "encoder", "adapter", "decoder"]);
  mkdirSync(ARTIFACTS, { recursive: true });
  await page.screenshot({ path: join(ARTIFACTS, "page.png") });
  assert.deepEqual(complaints, []);
  assert.deepEqual([...origins], [running.url]);
  await page.close();
});

test("can be used with the keyboard and shows the focus", { skip }, async () => {
  const { page, complaints } = await ticket(browser, running.url);
  await tabTo(page, "#samples li:nth-child(2) button");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".how", 1);
  assert.equal(await page.evaluate("document.querySelector('#figure img').alt"), "night sky");
  // The field for questions has the focus after a medium was opened.
  await page.keyboard.type("What is it?");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".how", 2);
  await tabTo(page, "#choices summary");
  await page.keyboard.press("Enter");
  await tabTo(page, "#candidates");
  await page.keyboard.type("yes\nno");
  await tabTo(page, "#options summary");
  await page.keyboard.press("Space");
  await tabTo(page, "[name=temperature]");
  await page.keyboard.down("Shift");
  for (let i = 0; i < 8; i++) await page.keyboard.press("Tab");
  await page.keyboard.up("Shift");
  await tabTo(page, "#question");
  await page.keyboard.type("Is it night?");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".ranking li", 2);
  await tabTo(page, ".turn:nth-child(2) .question", "backwards");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate("document.activeElement.value"), "What is it?");
  await tabTo(page, ".turn:nth-child(3) .how summary", "backwards");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate("document.querySelector('.turn:nth-child(3) .how').open"), true);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("ranks candidates", { skip }, async () => {
  const { page } = await ticket(browser, running.url);
  await choose(page, photo);
  await page.click("#choices summary");
  await page.type("#candidates", "yes\n\n  no  \n<b>maybe</b>");
  await page.type("#question", "Is it day?");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".ranking li", 3);
  const names = await textsOf(page, ".ranking li > span:first-child");
  assert.deepEqual(names.toSorted(), ["<b>maybe</b>", "no", "yes"]);
  assert.deepEqual((await textsOf(page, ".turn:nth-child(2) .answer"))[0], names[0]);
  await page.close();
});

test("applies options: several texts, a new sample each time, the selected adapter", {
  skip,
}, async () => {
  const { page } = await ticket(browser, running.url);
  await choose(page, photo);
  await waitForCount(page, ".how", 1);
  await page.click("#options summary");
  await page.type("[name=n]", "3");
  await page.type("[name=temperature]", "2");
  await page.click("#caption");
  await page.click("#caption");
  await waitForCount(page, ".how", 3);
  await waitForCount(page, ".others li", 4);
  const [, first, second] = await textsOf(page, ".answer");
  assert.notEqual(first, second);
  await page.select("[name=adapter]", "answers");
  await page.click("#caption");
  await waitForCount(page, ".how", 4);
  assert.deepEqual((await textsOf(page, ".turn:last-child .how .hint"))[0], "Model tiny, adapter answers");
  await page.close();
});

test("explains and highlights an invalid option", { skip }, async () => {
  const { page } = await ticket(browser, running.url);
  await choose(page, photo);
  await waitForCount(page, ".how", 1);
  await page.click("#options summary");
  await page.type("[name=beams]", "1");
  await page.type("[name=n]", "3");
  await page.click("#caption");
  await page.waitForSelector(".turn .problem");
  assert.match((await textsOf(page, ".problem p"))[0] ?? "", /does not accept these options/);
  assert.equal(await page.evaluate("document.querySelector('[name=n]').ariaInvalid"), "true");
  // An input that is not a number is not sent.
  await page.type("[name=beams]", "-");
  await page.click("#caption");
  await waitForCount(page, ".turn", 2);
  await page.close();
});

test("explains why files are rejected by the page or by the service", { skip }, async () => {
  const { page } = await ticket(browser, running.url);
  const notes = join(files, "notes.txt");
  writeFileSync(notes, "no picture");
  await choose(page, notes);
  await page.waitForSelector("#medium-problem:not([hidden])");
  assert.deepEqual(await textsOf(page, "#medium-problem"), [
    "notes.txt: This file is not an image that the service can read.",
  ]);
  assert.equal(await page.evaluate("document.querySelector('#talk').hidden"), true);
  for (const [name, what] of [
    ["bird.mp3", "an audio file"],
    ["bird.mp4", "a video"],
  ] as const) {
    writeFileSync(join(files, name), "x");
    await choose(page, join(files, name));
    assert.deepEqual(await textsOf(page, "#medium-problem"), [
      `${name} is ${what}. The model “tiny” only accepts images.`,
    ]);
  }
  // Afterwards, an image is accepted.
  await choose(page, markup);
  await waitForCount(page, ".how", 1);
  assert.equal(await page.evaluate("document.querySelector('#medium-problem').hidden"), true);
  await page.close();
});

test("starts a new conversation with a pasted or dropped image", { skip }, async () => {
  const { page, complaints } = await ticket(browser, running.url);
  for (const [type, field] of [
    ["ClipboardEvent", "clipboardData"],
    ["DragEvent", "dataTransfer"],
  ] as const) {
    const name = type === "DragEvent" ? "drop" : "paste";
    await page.evaluate(`(async () => {
      const blob = await (await fetch("samples/tiny/hills.png")).blob();
      const data = new DataTransfer();
      data.items.add(new File([blob], "given-by-${name}.png", { type: "image/png" }));
      const options = { bubbles: true, cancelable: true, ${field}: data };
      document.body.dispatchEvent(new ${type}("${name}", options));
    })()`);
    await page.waitForSelector(`img[alt="given by ${name}"]`);
    await waitForCount(page, ".how", 1);
    assert.equal((await textsOf(page, ".turn")).length, 1);
  }
  assert.deepEqual(complaints, []);
  await page.close();
});

test("stops an answer on request and reports a lost connection", { skip }, async () => {
  const { page } = await ticket(browser, running.url);
  await choose(page, photo);
  await waitForCount(page, ".how", 1);
  await page.setRequestInterception(true);
  let held = 0;
  page.on("request", (request) => {
    if (held++ > 0) request.abort();
  });
  await page.type("#question", "Is it slow?");
  await page.keyboard.press("Enter");
  await page.click("button.stop");
  assert.equal((await textsOf(page, ".turn:nth-child(2) .answer"))[0], "Stopped.");
  assert.equal(await page.evaluate("document.activeElement.matches('.turn:nth-child(2)')"), true);
  await page.click("#caption");
  await page.waitForSelector(".turn .problem");
  assert.deepEqual(await textsOf(page, ".turn .problem"), ["The connection to the service was lost."]);
  await page.close();
});

test("plays and captions audio and videos, and offers the adapters for their kind", {
  skip: skip || lacksEncoder("libvpx"),
}, async () => {
  const senses = await buildAllSensesModel();
  mkdirSync(join(senses, "samples"));
  const media = {
    "a-tone.wav": makeMedia("tone.wav", ...tone),
    "colours.gif": makeMedia("colours.gif", ...threeColours, "-r", "5"),
    "film.webm": makeMedia("film.webm", ...threeColours, "-c:v", "libvpx", "-deadline", "realtime"),
    "hills.png": await picture(11, 90, 60),
  };
  for (const [name, bytes] of Object.entries(media)) writeFileSync(join(senses, "samples", name), bytes);
  const all = await startServer({ models: { all: senses }, logLevel: "silent" });
  const { page, complaints, origins } = await ticket(browser, all.url);
  await waitForCount(page, "#samples li", 4);
  assert.deepEqual(await textsOf(page, "#chooser b"), ["Choose an image, an audio file or a video"]);
  assert.equal(await page.evaluate("document.querySelector('#file').accept"), "image/*,audio/*,video/*");
  assert.deepEqual(await textsOf(page, "#samples .sound"), ["a tone"]);
  await page.waitForFunction("document.querySelector('#samples video').readyState >= 2");
  const adapters = () => textsOf(page, "[name=adapter] option");
  assert.equal((await adapters()).length, 4);

  await page.click("#samples li:nth-child(1) button");
  await waitForCount(page, ".how", 1);
  await page.waitForFunction("document.querySelector('#figure audio[controls]').readyState >= 1");
  assert.ok(Math.abs(Number(await page.evaluate("document.querySelector('audio').duration")) - 2) < 0.1);
  assert.deepEqual(await textsOf(page, ".how .hint"), ["Model all, adapter sounds"]);
  assert.deepEqual(await adapters(), ["default for the task", "sounds (captions, questions)"]);

  const film = join(files, "film.webm");
  writeFileSync(film, media["film.webm"]);
  await choose(page, film);
  await waitForCount(page, ".turn", 1);
  await waitForCount(page, ".how", 1);
  await page.waitForFunction("document.querySelector('#figure video[controls]').videoWidth === 64");
  assert.equal(await page.evaluate("document.querySelector('#figure video').muted"), true);
  await page.type("#question", "What moves?");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".how", 2);
  const clips = "Model all, adapter clips";
  assert.deepEqual(await textsOf(page, ".how .hint"), [clips, clips]);
  assert.deepEqual(await adapters(), ["default for the task", "clips (captions, questions)"]);
  await page.screenshot({ path: join(ARTIFACTS, "page-video.png") });

  // The browser treats an animated GIF as an image; the service answers that it is a video.
  await page.click("#samples li:nth-child(2) button");
  await waitForCount(page, ".turn", 1);
  await waitForCount(page, ".how", 1);
  assert.equal(await page.evaluate("document.querySelector('#figure img').naturalWidth"), 64);
  assert.deepEqual(await textsOf(page, ".how .hint"), [clips]);
  assert.deepEqual(await adapters(), ["default for the task", "clips (captions, questions)"]);

  await page.click("#samples li:nth-child(4) button");
  await waitForCount(page, ".turn", 1);
  await waitForCount(page, ".how", 1);
  assert.deepEqual(await textsOf(page, ".how .hint"), ["Model all, adapter pictures"]);

  const broken = join(files, "broken.wav");
  writeFileSync(broken, media["a-tone.wav"].subarray(0, 40));
  await choose(page, broken);
  await page.waitForSelector("#medium-problem:not([hidden])");
  assert.deepEqual(await textsOf(page, "#medium-problem"), ["broken.wav: This file is damaged and cannot be read."]);
  await expectNoSideways(page);
  // The browser logs the rejected file.
  assert.deepEqual(
    complaints.filter((text) => !text.includes("status of 422")),
    [],
  );
  assert.deepEqual([...origins], [all.url]);
  await page.close();
});

test("captions and asks whole vision-language models", { skip }, async () => {
  for (const name of ["smolvlm", "nanovlm", "llava-siglip-qwen2"]) {
    const model = join(files, name);
    await buildTinyVlm(name, model);
    const served = await startServer({ models: { [name]: model }, logLevel: "silent" });
    const { page, complaints } = await ticket(browser, served.url);
    await choose(page, VLM_PHOTO);
    await waitForCount(page, ".how", 1);
    await page.type("#question", "What is in the picture?");
    await page.keyboard.press("Enter");
    await waitForCount(page, ".how", 2);
    const { text } = await served.models.get(name).model.vqa(readFileSync(VLM_PHOTO), "What is in the picture?");
    assert.equal((await textsOf(page, ".answer"))[1]?.trim(), text.trim());
    assert.deepEqual(complaints, []);
    await page.close();
  }
});

test("says above an answer that the bundled model has not seen images like this one", { skip }, async () => {
  const bundled = await startServer({ models: { default: BUNDLED_MODEL }, logLevel: "silent" });
  const { page, complaints } = await ticket(browser, bundled.url);
  await choose(page, VLM_PHOTO);
  await waitForCount(page, ".how", 1);
  assert.deepEqual(await textsOf(page, ".unfamiliar"), [
    "This model has not seen images like this one. Its answer is probably wrong.",
  ]);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("shows what the bundled model can do, asks example questions, and fits a phone of 390 px in each state", {
  skip: skip || lacksEncoder("libx264"),
}, async () => {
  const bundled = await startServer({ models: { default: BUNDLED_MODEL }, logLevel: "silent" });
  const samples = readSampleNotes(join(BUNDLED_MODEL, "samples"));
  const names = Object.keys(samples).toSorted();
  const [wrong = ""] = names.filter((name) => samples[name]?.isCorrect === false);
  const sample = (name: string) => `#samples li:nth-child(${names.indexOf(name) + 1}) button`;
  const nameOfKind = (end: string) => names.filter((name) => name.endsWith(end) && name !== wrong)[0] ?? "";
  const screens = [390, 1280].flatMap((width) => (["light", "dark"] as const).map((scheme) => ({ width, scheme })));
  for (const { width, scheme } of screens) {
    const { page, complaints } = await ticket(browser, bundled.url, { width, height: 844, scheme });
    const state = async (name: string) => {
      await expectNoSideways(page);
      await page.screenshot({ path: join(ARTIFACTS, `page-${width}-${scheme}-${name}.png`) });
    };
    await waitForCount(page, "#samples li", names.length);
    assert.match((await textsOf(page, "#about")).join(), /does not know photographs/);
    assert.deepEqual(await textsOf(page, "#samples .wrong"), ["Wrong caption"]);
    assert.ok((await textsOf(page, `${sample(wrong)} .wrong`)).length === 1);
    await state("start");
    for (const [kind, end] of Object.entries({ image: ".jpg", audio: ".wav", video: ".mp4" })) {
      const name = nameOfKind(end);
      await page.click(sample(name));
      await waitForCount(page, ".how", 1);
      assert.deepEqual(await textsOf(page, ".answer"), [samples[name]?.expected]);
      await page.click("#examples li:nth-child(2) button");
      await waitForCount(page, ".how", 2);
      const [asked = ""] = await textsOf(page, "#examples li:nth-child(2) button");
      assert.deepEqual(await textsOf(page, ".question"), [asked]);
      if (kind === "video") {
        await page.waitForFunction("!document.querySelector('#figure video').paused");
        await page.waitForFunction("document.querySelector('#figure video').currentTime > 0");
      }
      await state(kind);
    }
    const broken = join(files, "a-file-with-a-name-so-long-that-it-does-not-fit-on-a-narrow-screen.wav");
    writeFileSync(broken, "RIFF0000WAVE");
    await choose(page, broken);
    await page.waitForSelector("#medium-problem:not([hidden])");
    await state("error");
    assert.deepEqual(
      complaints.filter((text) => !/status of 4(15|22)/.test(text)),
      [],
    );
    await page.close();
  }
});

test("keeps a typed question if an option is invalid", { skip }, async () => {
  const { page } = await ticket(browser, running.url);
  await choose(page, photo);
  await waitForCount(page, ".how", 1);
  await page.click("#options summary");
  await page.type("[name=beams]", "0");
  await page.type("#question", "What is it?");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate("document.querySelector('#question').value"), "What is it?");
  assert.equal((await textsOf(page, ".turn")).length, 1);
  // The page accepts these options, but the service does not.
  await page.evaluate(
    "document.querySelector('[name=beams]').value = '1'; document.querySelector('[name=n]').value = '3'",
  );
  await page.focus("#question");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".turn .problem");
  assert.equal(await page.evaluate("document.querySelector('#question').value"), "What is it?");
  await page.close();
});

test("returns to the previous conversation, and copies and downloads the conversation as JSON", { skip }, async () => {
  const { page, complaints } = await ticket(browser, running.url);
  await page
    .browserContext()
    .overridePermissions(running.url, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
  await page.click("#samples li:nth-child(1) button");
  await waitForCount(page, ".how", 1);
  assert.equal(await page.evaluate("document.querySelector('#previous').hidden"), true);
  await page.type("#question", "What is it?");
  await page.keyboard.press("Enter");
  await waitForCount(page, ".how", 2);
  const before = await textsOf(page, ".answer");
  await page.click("#samples li:nth-child(2) button");
  await waitForCount(page, ".how", 1);
  await page.click("#previous");
  assert.deepEqual(await textsOf(page, ".answer"), before);
  assert.equal(await page.evaluate("document.querySelector('#figure img').alt"), "hills");
  await page.click("#copy");
  await page.waitForFunction("document.querySelector('#copy').textContent === 'Copied'");
  const copied = JSON.parse(String(await page.evaluate("navigator.clipboard.readText()")));
  assert.equal(copied.medium, "hills.png");
  assert.deepEqual(
    copied.turns.map(({ question, answer }: { question?: string; answer: { text: string } }) => [
      question,
      answer.text.trim(),
    ]),
    [undefined, "What is it?"].map((question, index) => [question, before[index]]),
  );
  const downloads = join(files, "downloads");
  const session = await page.createCDPSession();
  await session.send("Browser.setDownloadBehavior", {
    behavior: "allow",
    downloadPath: downloads,
    browserContextId: page.browserContext().id ?? "",
  });
  await page.click("#download");
  const file = join(downloads, "hills.json");
  for (let tries = 0; !existsSync(file) && tries < 100; tries++) await pause(50);
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), copied);
  // The conversation with the second sample is the previous one now.
  await page.click("#previous");
  assert.equal(await page.evaluate("document.querySelector('#figure img').alt"), "night sky");
  assert.deepEqual(complaints, []);
  await page.close();
});

for (const [name, screen] of Object.entries({
  phone: { width: 360, height: 760 },
  dark: { scheme: "dark" },
} satisfies Record<string, Screen>)) {
  test(`is not wider than the screen: ${name}`, { skip }, async () => {
    const { page, complaints } = await ticket(browser, running.url, screen);
    await expectNoSideways(page);
    await page.screenshot({ path: join(ARTIFACTS, `page-${name}-start.png`) });
    await page.click("#samples button");
    await waitForCount(page, ".how", 1);
    await page.type("#question", "What is it?");
    await page.keyboard.press("Enter");
    await waitForCount(page, ".how", 2);
    await page.screenshot({ path: join(ARTIFACTS, `page-${name}.png`) });
    // A question that is too long for the model gives an error, which must also fit.
    await page.evaluate("document.querySelector('#question').value = 'long'.repeat(400)");
    await page.focus("#question");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".turn:nth-child(3) .problem");
    await page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true");
    await expectNoSideways(page);
    await page.screenshot({ path: join(ARTIFACTS, `page-${name}-open.png`), fullPage: true });
    // The browser logs the rejected question.
    assert.deepEqual(
      complaints.filter((text) => !text.includes("status of 400")),
      [],
    );
    await page.close();
  });
}

test("asks for a key, checks it and stores it for this tab", { skip }, async () => {
  const guarded = await startServer({ models: { tiny: folder }, keys: { me: KEY }, logLevel: "silent" });
  const { page } = await ticket(browser, guarded.url);
  await page.waitForSelector("#key-form:not([hidden])");
  await page.keyboard.type("a-key-that-is-wrong");
  await page.keyboard.press("Enter");
  await page.waitForFunction("document.querySelector('#key-problem').textContent !== ''");
  assert.deepEqual(await textsOf(page, "#key-problem"), ["This key is not valid."]);
  await page.type("#key", KEY);
  await page.keyboard.press("Enter");
  await waitForCount(page, "#samples li", 3);
  await page.reload({ waitUntil: "networkidle0" });
  assert.equal(await page.evaluate("document.querySelector('#key-form').hidden"), true);
  await page.click("#samples button");
  await waitForCount(page, ".how", 1);
  await page.close();
});

test("waits for a service that is still loading", { skip }, async () => {
  const config = parseServerConfig({
    port: 0,
    models: { tiny: folder },
    checksums: false,
    logLevel: "silent",
  });
  const models = new Models();
  const server = await createServer({ config, models, version: "0.0.0" });
  try {
    const { page } = await ticket(browser, await server.listen());
    assert.deepEqual(await textsOf(page, "#service-notice"), ["The service is loading its models."]);
    await models.load(config, 1);
    await waitForCount(page, "#samples li", 3);
    assert.equal(await page.evaluate("document.querySelector('#service-notice').hidden"), true);
    await page.close();
  } finally {
    await server.close();
    await models.close();
  }
});

/** Records the states of the newest answer while it is generated, in `grown`. */
const WATCH_ANSWER = `
  grown = [];
  new MutationObserver(() => {
    const text = document.querySelector("#turns > :last-child .answer[aria-busy]")?.textContent;
    if (text && text !== grown.at(-1)) grown.push(text);
  }).observe(document.querySelector("#turns"), { childList: true, subtree: true, characterData: true });
`;

async function choose(page: Page, path: string): Promise<void> {
  const [chooser] = await Promise.all([page.waitForFileChooser(), page.click("#chooser")]);
  await chooser.accept([path]);
}

/** Presses Tab until the element has the focus, and expects a visible outline. */
async function tabTo(page: Page, selector: string, way: "forwards" | "backwards" = "forwards"): Promise<void> {
  const isThere = `document.activeElement.matches(${JSON.stringify(selector)})`;
  if (way === "backwards") await page.keyboard.down("Shift");
  for (let presses = 0; !(await page.evaluate(isThere)); presses++) {
    assert.ok(presses < 40, `${selector} cannot be reached`);
    await page.keyboard.press("Tab");
  }
  if (way === "backwards") await page.keyboard.up("Shift");
  assert.equal(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "solid", selector);
}

async function expectNoSideways(page: Page): Promise<void> {
  const [content = 0, screen = 0] = (await page.evaluate(
    "[document.documentElement.scrollWidth, innerWidth]",
  )) as number[];
  assert.ok(content <= screen, `content of ${content} px on a screen of ${screen} px`);
}
