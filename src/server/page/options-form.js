import { find, make } from "./make-element.js";
import { optionTable } from "./option-table.js";

/** @typedef {import("./service-client.js").Model} Model */
/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/** Seeds are less than this number. */
const SEEDS = 2 ** 31;

/** The form with the model, the adapter and the generation options. */
export class OptionsForm {
  #details;
  #model;
  #adapter;
  /** Inputs whose values are sent unchanged to `/caption` and `/vqa`; the model has defaults for empty ones. */
  #numbers;
  /** @type {readonly Model[]} */
  #models = [];
  /** @type {MediaKind | undefined} */
  #kind;

  /**
   * @param {HTMLDetailsElement} details
   * @param {() => void} onModel called when the visitor selects another model
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
   * Offers the adapters of a kind of media, or all adapters if the kind is undefined.
   *
   * @param {MediaKind | undefined} kind
   */
  expect(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    this.#showAdapters();
  }

  /** The selected model; undefined before the models are known. */
  get model() {
    return this.#models.find(({ id }) => id === this.#model.value);
  }

  /** The expected kind of media; undefined if it is not known. */
  get kind() {
    return this.#kind;
  }

  /** The adapters of the selected model for the expected kind of media. */
  get adapters() {
    const all = this.model?.epalm.adapters ?? [];
    return all.filter(({ modality }) => this.#kind === undefined || modality === this.#kind);
  }

  /** Whether all numbers are valid. Otherwise, the form shows the first invalid one. */
  check() {
    const wrong = this.#numbers.find((input) => !input.validity.valid);
    if (!wrong) return true;
    this.#details.open = true;
    wrong.reportValidity();
    return false;
  }

  /**
   * Returns the fields of a request as strings.
   *
   * @param {"writing" | "ranking"} purpose generation options cannot be used for ranking
   * @returns {Record<string, string>}
   */
  fields(purpose) {
    const adapter = this.#adapter.value;
    const fields = { model: this.#model.value, ...(adapter === "" ? {} : { adapter }) };
    if (purpose === "ranking") return fields;
    /** @type {Record<string, string>} */
    const written = { logprobs: "true" };
    for (const { name, value } of this.#numbers) if (value !== "") written[name] = value;
    // A new seed for each request, because repeating a question should give a different text.
    const seed = String(Math.floor(Math.random() * SEEDS));
    return Number(written.temperature ?? 0) > 0 ? { ...fields, ...written, seed } : { ...fields, ...written };
  }

  /**
   * Highlights the option that caused a problem, if the form contains it.
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
    this.#adapter.replaceChildren(make("option", { value: "" }, "default for the task"), ...options);
    // Keep the selected adapter if it is still in the list.
    if (this.adapters.some(({ name }) => name === chosen)) this.#adapter.value = chosen;
  }
}

/**
 * Sets the bounds and the help text of an input from the generation option with the same name.
 *
 * @param {HTMLInputElement} input
 */
function expectOption(input) {
  const option = Object.values(optionTable).find(({ wire }) => wire === input.name);
  if (option?.type !== "integer" && option?.type !== "number")
    throw new TypeError(`${input.name}: expected the name of a numeric generation option`);
  input.min = String(option.least);
  input.max = String(option.most);
  input.step = option.type === "integer" ? "1" : "any";
  input.title = option.help;
}
