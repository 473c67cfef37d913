import { Conversation } from "./conversation.js";
import { find, make } from "./make-element.js";
import { kindOf, likelyKind, mediaKinds, whyNot } from "./media-kinds.js";
import { OptionsForm } from "./options-form.js";
import { isAboutMedium, MEDIUM_FIELD, plainWords } from "./plain-words.js";
import { ServiceClient, ServiceProblem } from "./service-client.js";
import { Stage } from "./stage.js";

/** How long to wait before the next request to a service that is still loading its models; milliseconds. */
const PATIENCE = 2000;

/** How long a button confirms what it did; milliseconds. */
const CONFIRMATION = 2500;

const service = new ServiceClient();
const talk = find("#talk", HTMLElement);
const question = find("#question", HTMLInputElement);
const candidates = find("#candidates", HTMLTextAreaElement);
const keyForm = find("#key-form", HTMLFormElement);

const stage = new Stage(open);
const options = new OptionsForm(find("#options", HTMLDetailsElement), showModel);
const conversation = new Conversation(
  find("#turns", HTMLOListElement),
  (asked) => {
    question.value = asked;
    question.focus();
  },
  showTools,
);

/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/** @type {File | undefined} */
let medium;

/**
 * The medium and the conversation before the current one, to which the visitor can return.
 *
 * @type {{ readonly medium: File, readonly kept: import("./conversation.js").Kept } | undefined}
 */
let previous;

/** Loads the list of models and shows the page. */
async function start() {
  try {
    options.show(await service.models());
  } catch (error) {
    const code = error instanceof ServiceProblem ? error.problem.code : undefined;
    if (code === "unauthorized") {
      askForKey();
    } else if (code === "overloaded") {
      notice("The service is loading its models.");
      setTimeout(start, PATIENCE);
    } else {
      notice(plainWords(error, ["image"]).sentence);
    }
    return;
  }
  const hadFocus = keyForm.contains(document.activeElement);
  keyForm.hidden = true;
  notice("");
  find("main", HTMLElement).hidden = false;
  if (hadFocus) find("#file", HTMLInputElement).focus();
  showModel();
}

function askForKey() {
  find("#key-problem", HTMLElement).textContent = service.hasKey ? "This key is not valid." : "";
  keyForm.hidden = false;
  find("#key", HTMLInputElement).focus();
}

/** @param {string} sentence */
function notice(sentence) {
  const element = find("#service-notice", HTMLElement);
  element.textContent = sentence;
  element.hidden = sentence === "";
}

/** Adapts the page to the selected model: its modalities, its tasks and its samples. */
function showModel() {
  const { model } = options;
  if (!model) return;
  const { modalities } = model.epalm;
  stage.expect(modalities);
  options.expect(medium && likelyKind(medium, modalities));
  showTasks();
  // Samples are optional, so errors are ignored.
  offerSamples(model.id).catch(() => stage.offer([]));
}

/** Shows the controls for the tasks of the available adapters. */
function showTasks() {
  find("#caption", HTMLElement).hidden = !isTrainedFor("caption");
  find("#question-row", HTMLElement).hidden = !isTrainedFor("vqa");
  find("#choices", HTMLElement).hidden = !isTrainedFor("vqa");
  showCapabilities();
}

/** Shows what the model says about itself, and its example questions for the kind of the current medium. */
function showCapabilities() {
  const kind = options.kind;
  const all = options.model?.epalm.capabilities ?? [];
  const fitting = all.filter(({ modality }) => kind === undefined || modality === kind);
  stage.describe(
    fitting.flatMap(({ task, modality, description }) =>
      description === undefined ? [] : [{ title: abilityTitle(task, modality), description }],
    ),
  );
  const questions = medium && isTrainedFor("vqa") ? fitting.flatMap((one) => one.example_questions) : [];
  const items = Array.from(new Set(questions), (text) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", () => ask(text));
    return make("li", {}, button);
  });
  find("#examples", HTMLElement).replaceChildren(...items);
}

/**
 * @param {"caption" | "vqa"} task
 * @param {MediaKind} kind
 */
function abilityTitle(task, kind) {
  return task === "caption" ? `Captions of ${mediaKinds[kind].many}` : `Questions about ${mediaKinds[kind].many}`;
}

/** Shows the buttons for what the visitor can do with the current conversation. */
function showTools() {
  const isEmpty = conversation.record.length === 0;
  find("#copy", HTMLElement).hidden = isEmpty;
  find("#download", HTMLElement).hidden = isEmpty;
  find("#previous", HTMLElement).hidden = previous === undefined;
}

/** @param {MediaKind | undefined} kind kind of the current medium, if known */
function expectKind(kind) {
  options.expect(kind);
  showTasks();
}

/** @param {"caption" | "vqa"} task */
function isTrainedFor(task) {
  return options.adapters.some(({ tasks }) => tasks.includes(task));
}

/** @param {string} model */
async function offerSamples(model) {
  const samples = await service.samples();
  const own = samples.filter((sample) => sample.model === model);
  const offered = await Promise.all(
    own.map(async (sample) => ({ file: await service.sampleFile(sample), isWrong: sample.is_correct === false })),
  );
  // The visitor may have selected another model in the meantime.
  if (options.model?.id === model) stage.offer(offered);
}

/**
 * Opens a medium and starts a new conversation.
 *
 * @param {File} file
 */
function open(file) {
  const { model } = options;
  if (!model) return;
  const { modalities } = model.epalm;
  const reason = whyNot(file, { name: model.id, modalities });
  if (reason !== undefined) {
    stage.complain(reason);
    return;
  }
  keepConversation();
  show(file);
  // On touch screens, the focus would open a keyboard that hides the medium.
  if (!matchMedia("(pointer: coarse)").matches) question.focus({ preventScroll: true });
  if (isTrainedFor("caption")) ask(undefined);
}

/** Clears the conversation, and keeps it if it has a finished turn. */
function keepConversation() {
  const hasTurns = conversation.record.length > 0;
  const before = medium;
  const kept = conversation.clear();
  if (before && hasTurns) previous = { medium: before, kept };
  showTools();
}

/** Shows a medium that the model accepts. @param {File} file */
function show(file) {
  const modalities = options.model?.epalm.modalities ?? [];
  medium = file;
  stage.show(file, kindOf(file) ?? modalities[0] ?? "image");
  expectKind(likelyKind(file, modalities));
  talk.hidden = false;
}

/** Shows the previous conversation; the current one becomes the previous one. */
function goBack() {
  if (!previous) return;
  const { medium: file, kept } = previous;
  previous = undefined;
  keepConversation();
  show(file);
  conversation.restore(kept);
}

/** The current medium and conversation as JSON. */
function conversationJson() {
  return JSON.stringify({ medium: medium?.name, turns: conversation.record }, undefined, 2);
}

async function copyConversation() {
  try {
    await navigator.clipboard.writeText(conversationJson());
    say("The conversation was copied.");
    confirmOn(find("#copy", HTMLElement), "Copied");
  } catch {
    // Browsers allow this only in secure contexts, and visitors can forbid it.
    confirmOn(find("#copy", HTMLElement), "The browser does not allow copying; please download instead");
  }
}

/**
 * Replaces the text of a button for a moment.
 *
 * @param {HTMLElement} button
 * @param {string} text
 */
function confirmOn(button, text) {
  const before = button.dataset.text ?? button.textContent ?? "";
  button.dataset.text = before;
  button.textContent = text;
  setTimeout(() => {
    button.textContent = before;
  }, CONFIRMATION);
}

function downloadConversation() {
  const url = URL.createObjectURL(new Blob([conversationJson()], { type: "application/json" }));
  const name = `${(medium?.name ?? "conversation").replace(/\.\w+$/, "")}.json`;
  make("a", { href: url, download: name }).click();
  // The download has started when the event has been dispatched.
  setTimeout(() => URL.revokeObjectURL(url));
}

/**
 * Asks about the current medium. Several requests may run at the same time.
 *
 * @param {string | undefined} asked the question; undefined for a caption
 */
async function ask(asked) {
  const file = medium;
  const { model } = options;
  if (!file || !model || !options.check()) return;
  const { modalities } = model.epalm;
  const stopping = new AbortController();
  const turn = conversation.begin(asked, () => stopping.abort());
  // The visitor may have selected another model after the medium.
  const reason = whyNot(file, { name: model.id, modalities });
  if (reason !== undefined) {
    turn.fail({ sentence: reason, detail: "" });
    return;
  }
  try {
    const form = requestForm(asked, file);
    const path = asked === undefined ? "caption" : "vqa";
    const answer = await service.ask(path, form, stopping.signal, (piece) => turn.grow(piece));
    turn.finish(answer);
    // Only the service knows how it interpreted an animated image or a container.
    if (file === medium) expectKind(answer.modality);
    say(`${asked === undefined ? "Caption" : "Answer"}: ${answer.text}`);
  } catch (error) {
    if (stopping.signal.aborted) turn.stopped();
    else if (isAboutMedium(error) && file === medium) refuseMedium(error);
    else {
      explainProblem(error);
      turn.fail(plainWords(error, modalities));
      // The question was not the problem, so that the visitor need not type it again.
      if (asked !== undefined && question.value === "") question.value = asked;
    }
  }
}

/**
 * @param {string | undefined} asked
 * @param {File} file
 */
function requestForm(asked, file) {
  const form = new FormData();
  const choices = asked === undefined ? [] : choicesOf(candidates.value);
  const fields = options.fields(choices.length > 0 ? "ranking" : "writing");
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  if (asked !== undefined) form.append("question", asked);
  for (const choice of choices) form.append("candidates", choice);
  form.append(MEDIUM_FIELD, file);
  return form;
}

/** @param {string} text one answer per line */
function choicesOf(text) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** Removes a medium that the service cannot read. @param {unknown} error */
function refuseMedium(error) {
  const name = medium?.name ?? "";
  medium = undefined;
  conversation.clear();
  talk.hidden = true;
  stage.clear();
  showCapabilities();
  goBack();
  stage.complain(`${name}: ${plainWords(error, options.model?.epalm.modalities ?? ["image"]).sentence}`);
  find("#file", HTMLInputElement).focus();
}

/** Shows the form in which the visitor can correct the problem. @param {unknown} error */
function explainProblem(error) {
  if (!(error instanceof ServiceProblem)) return;
  const { code, field } = error.problem;
  if (code === "unauthorized") askForKey();
  if (field !== undefined) options.mark(field);
}

/** Announces a complete answer to screen readers. @param {string} text */
function say(text) {
  find("#status", HTMLElement).textContent = text;
}

keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const input = find("#key", HTMLInputElement);
  service.useKey(input.value.trim());
  input.value = "";
  start();
});

find("#ask", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = question.value.trim();
  // If an option is invalid, the form shows it, and the question stays.
  if (asked === "" || !options.check()) return;
  question.value = "";
  ask(asked);
});

find("#previous", HTMLButtonElement).addEventListener("click", goBack);
find("#copy", HTMLButtonElement).addEventListener("click", copyConversation);
find("#download", HTMLButtonElement).addEventListener("click", downloadConversation);

find("#caption", HTMLButtonElement).addEventListener("click", () => ask(undefined));

candidates.addEventListener("input", () => {
  const count = choicesOf(candidates.value).length;
  find("#choices-count", HTMLElement).textContent = count === 0 ? "" : ` (${count})`;
});

start();
