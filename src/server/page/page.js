import { Conversation } from "./conversation.js";
import { find } from "./make-element.js";
import { kindOf, likelyKind, whyNot } from "./media-kinds.js";
import { OptionsForm } from "./options-form.js";
import { isAboutMedium, MEDIUM_FIELD, plainWords } from "./plain-words.js";
import { ServiceClient, ServiceProblem } from "./service-client.js";
import { Stage } from "./stage.js";

/** How long to wait before the next request to a service that is still loading its models; milliseconds. */
const PATIENCE = 2000;

const service = new ServiceClient();
const talk = find("#talk", HTMLElement);
const question = find("#question", HTMLInputElement);
const candidates = find("#candidates", HTMLTextAreaElement);
const keyForm = find("#key-form", HTMLFormElement);

const stage = new Stage(open);
const options = new OptionsForm(find("#options", HTMLDetailsElement), showModel);
const conversation = new Conversation(find("#turns", HTMLOListElement), (asked) => {
  question.value = asked;
  question.focus();
});

/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/** @type {File | undefined} */
let medium;

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
  const files = await Promise.all(own.map((sample) => service.sampleFile(sample)));
  // The visitor may have selected another model in the meantime.
  if (options.model?.id === model) stage.offer(files);
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
  conversation.clear();
  medium = file;
  stage.show(file, kindOf(file) ?? modalities[0] ?? "image");
  expectKind(likelyKind(file, modalities));
  talk.hidden = false;
  // On touch screens, the focus would open a keyboard that hides the medium.
  if (!matchMedia("(pointer: coarse)").matches) question.focus({ preventScroll: true });
  if (isTrainedFor("caption")) ask(undefined);
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
  if (asked === "") return;
  question.value = "";
  ask(asked);
});

find("#caption", HTMLButtonElement).addEventListener("click", () => ask(undefined));

candidates.addEventListener("input", () => {
  const count = choicesOf(candidates.value).length;
  find("#choices-count", HTMLElement).textContent = count === 0 ? "" : ` (${count})`;
});

start();
