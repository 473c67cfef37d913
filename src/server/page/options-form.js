import { find, make } from "./make-element.js";
import { optionTable } from "./option-table.js";

/** @typedef {import("./service-client.js").Model} Model */
/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/** Seeds are below it. */
const SEEDS = 2 ** 31;

/** Model, adapter and how texts are written. */
export class OptionsForm {
  #details;
  #model;
  #adapter;
  /** Fields of `/caption` and `/vqa` that are sent as they are typed; empty ones are left to the model. */
  #numbers;
  /** @type {readonly Model[]} */
  #models = [];
  /** @type {MediaKind | undefined} */
  #kind;

  /**
   * @param {HTMLDetailsElement} details
   * @param {() => void} onModel is told when another model was chosen
   */
  constructor(details, onModel) {
    this.#details = details;
    this.#model = find("[name=model]", HTMLSelectElement, details);
    this.#adapter = find("[name=adapter]", HTMLSelectElement, details);
    this.#numbers = [...details.querySelectorAll("input")];
    for (const input of this.#numbers) expectOption(input);
    this.#model.addEventListener("change", () => {
      this.#showAdapters();
      onModel();
    });
    details.addEventListener("input", () => this.#unmark());
  }

  /** @param {readonly Model[]} models */
  show(models) {
    this.#models = models;
    this.#model.replaceChildren(...models.map(({ id }) => make("option", { value: id }, id)));
    this.#showAdapters();
  }

  /**
   * Offers the adapters of a kind of media; undefined: all.
   *
   * @param {MediaKind | undefined} kind
   */
  expect(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    this.#showAdapters();
  }

  /** The chosen model; undefined before there are any. */
  get model() {
    return this.#models.find(({ id }) => id === this.#model.value);
  }

  /** The chosen model's adapters of the kind of media that is expected. */
  get adapters() {
    const all = this.model?.epalm.adapters ?? [];
    return all.filter(({ modality }) => this.#kind === undefined || modality === this.#kind);
  }

  /** Whether every number is one; where not, the visitor is led to it. */
  check() {
    const wrong = this.#numbers.find((input) => !input.validity.valid);
    if (!wrong) return true;
    this.#details.open = true;
    wrong.reportValidity();
    return false;
  }

  /**
   * The fields of a request, as texts.
   *
   * @param {"writing" | "ranking"} purpose ranking knows no options of writing
   * @returns {Record<string, string>}
   */
  fields(purpose) {
    const adapter = this.#adapter.value;
    const fields = { model: this.#model.value, ...(adapter === "" ? {} : { adapter }) };
    if (purpose === "ranking") return fields;
    /** @type {Record<string, string>} */
    const written = { logprobs: "true" };
    for (const { name, value } of this.#numbers) if (value !== "") written[name] = value;
    // The same seed draws the same: whoever asks again wants to see something else.
    const seed = String(Math.floor(Math.random() * SEEDS));
    return Number(written.temperature ?? 0) > 0 ? { ...fields, ...written, seed } : { ...fields, ...written };
  }

  /**
   * Shows which option a problem is about, if it is one of them.
   *
   * @param {string} name
   */
  mark(name) {
    const field = this.#details.querySelector(`[name="${CSS.escape(name)}"]`);
    if (!field) return;
    this.#details.open = true;
    field.setAttribute("aria-invalid", "true");
  }

  #unmark() {
    for (const field of this.#details.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }

  #showAdapters() {
    const chosen = this.#adapter.value;
    const options = this.adapters.map(({ name, tasks }) => {
      const purposes = tasks.map((task) => (task === "vqa" ? "questions" : "captions"));
      return make("option", { value: name }, `${name} (${purposes.join(", ")})`);
    });
    this.#adapter.replaceChildren(make("option", { value: "" }, "the one for the task"), ...options);
    // What was chosen stays chosen where it is still offered.
    if (this.adapters.some(({ name }) => name === chosen)) this.#adapter.value = chosen;
  }
}

/**
 * Gives an input the bounds and the help of the option that it is named after.
 *
 * @param {HTMLInputElement} input
 */
function expectOption(input) {
  const option = Object.values(optionTable).find(({ wire }) => wire === input.name);
  if (option?.type !== "integer" && option?.type !== "number") throw new Error(`no number: ${input.name}`);
  input.min = String(option.least);
  input.max = String(option.most);
  input.step = option.type === "integer" ? "1" : "any";
  input.title = option.help;
}
