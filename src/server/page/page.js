import { Conversation } from "./conversation.js";
import { find } from "./make-element.js";
import { kindOf, likelyKind, whyNot } from "./media-kinds.js";
import { OptionsForm } from "./options-form.js";
import { isAboutMedium, MEDIUM_FIELD, plainWords } from "./plain-words.js";
import { ServiceClient, ServiceProblem } from "./service-client.js";
import { Stage } from "./stage.js";

/** How long to wait before a service that is still loading is asked again; milliseconds. */
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

/** Learns what the service has; until it is known, there is nothing to choose. */
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
  find("#key-problem", HTMLElement).textContent = service.hasKey ? "The service does not know this key." : "";
  keyForm.hidden = false;
  find("#key", HTMLInputElement).focus();
}

/** @param {string} sentence */
function notice(sentence) {
  const element = find("#service-notice", HTMLElement);
  element.textContent = sentence;
  element.hidden = sentence === "";
}

/** The page as the chosen model needs it: what it takes, what it was trained for, and its samples. */
function showModel() {
  const { model } = options;
  if (!model) return;
  const { modalities } = model.epalm;
  stage.expect(modalities);
  options.expect(medium && likelyKind(medium, modalities));
  showTasks();
  // Samples are an offer: without them, everything else works.
  offerSamples(model.id).catch(() => stage.offer([]));
}

/** What the adapters of the medium's kind were trained for. */
function showTasks() {
  find("#caption", HTMLElement).hidden = !isTrainedFor("caption");
  find("#question-row", HTMLElement).hidden = !isTrainedFor("vqa");
  find("#choices", HTMLElement).hidden = !isTrainedFor("vqa");
}

/** @param {MediaKind | undefined} kind of the medium that is shown, as far as it is known */
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
  // Another model may have been chosen in the meantime.
  if (options.model?.id === model) stage.offer(files);
}

/**
 * A new medium begins a new conversation.
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
  // Under a finger, a keyboard would come up and hide the medium.
  if (!matchMedia("(pointer: coarse)").matches) question.focus({ preventScroll: true });
  if (isTrainedFor("caption")) ask(undefined);
}

/**
 * Asks about the medium that is shown; several questions may be on their way.
 *
 * @param {string | undefined} asked undefined: for a caption
 */
async function ask(asked) {
  const file = medium;
  const { model } = options;
  if (!file || !model || !options.check()) return;
  const { modalities } = model.epalm;
  const stopping = new AbortController();
  const turn = conversation.begin(asked, () => stopping.abort());
  // Another model may have been chosen since the medium was.
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
    // Only the service knows what an animation, or a container, was taken for.
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

/** What cannot be read is taken off the stage. @param {unknown} error */
function refuseMedium(error) {
  const name = medium?.name ?? "";
  medium = undefined;
  conversation.clear();
  talk.hidden = true;
  stage.clear();
  stage.complain(`${name}: ${plainWords(error, options.model?.epalm.modalities ?? ["image"]).sentence}`);
  find("#file", HTMLInputElement).focus();
}

/** Leads to where a problem can be mended. @param {unknown} error */
function explainProblem(error) {
  if (!(error instanceof ServiceProblem)) return;
  const { code, field } = error.problem;
  if (code === "unauthorized") askForKey();
  if (field !== undefined) options.mark(field);
}

/** For screen readers: once, when an answer is whole. @param {string} text */
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
