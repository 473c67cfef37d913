import { find, make } from "./make-element.js";
import { anyOf, kindOf, mediaKinds } from "./media-kinds.js";

/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/** The part of the page where a medium is chosen, dropped or pasted, and displayed. */
export class Stage {
  #main = find("main", HTMLElement);
  #figure = find("#figure", HTMLElement);
  #problem = find("#medium-problem", HTMLParagraphElement);
  #input = find("#file", HTMLInputElement);
  #samples = find("#samples", HTMLElement);
  /** Object URL of the displayed medium, which must be revoked. */
  #url = "";
  #onFile;

  /** @param {(file: File) => void} onFile called with each file that the visitor provides */
  constructor(onFile) {
    this.#onFile = onFile;
    this.#input.addEventListener("change", () => {
      this.#take(this.#input.files);
      // Otherwise, choosing the same file again would not fire an event.
      this.#input.value = "";
    });
    document.addEventListener("paste", (event) => {
      // Office programs add an image of the copied text to the clipboard; the visitor wants to paste the text.
      if (event.clipboardData?.types.includes("text/plain")) return;
      if (this.#take(event.clipboardData?.files)) event.preventDefault();
    });
    this.#acceptDrops();
  }

  /** @param {readonly MediaKind[]} kinds kinds that the visitor can choose */
  expect(kinds) {
    this.#input.accept = kinds.map((kind) => mediaKinds[kind].accept).join(",");
    find("#chooser b", HTMLElement).textContent = `Choose ${anyOf(kinds)}`;
    find(".lead-medium", HTMLElement).textContent = anyOf(kinds);
  }

  /**
   * @param {File} file
   * @param {MediaKind} kind
   */
  show(file, kind) {
    this.clear();
    this.#url = URL.createObjectURL(file);
    const shown = mediaKinds[kind].show(this.#url, file.name);
    // The service can read some formats that few browsers support, such as TIFF and AVI.
    shown.addEventListener("error", () => shown.replaceWith(make("p", { class: "unshown" }, file.name)));
    this.#figure.replaceChildren(shown);
    this.#figure.hidden = false;
    this.#main.dataset.medium = kind;
  }

  clear() {
    this.#problem.hidden = true;
    this.#figure.hidden = true;
    this.#figure.replaceChildren();
    this.#main.dataset.medium = "none";
    URL.revokeObjectURL(this.#url);
  }

  /** @param {string} sentence why a file was rejected */
  complain(sentence) {
    this.#problem.textContent = sentence;
    this.#problem.hidden = false;
  }

  /**
   * Shows what the model can do, according to its manifest.
   *
   * @param {readonly { readonly title: string, readonly description: string }[]} abilities
   */
  describe(abilities) {
    const about = find("#about", HTMLElement);
    const items = abilities.map(({ title, description }) =>
      make("div", {}, make("dt", {}, title), make("dd", {}, description)),
    );
    find("dl", HTMLElement, about).replaceChildren(...items);
    about.hidden = abilities.length === 0;
  }

  /** @param {readonly { readonly file: File, readonly isWrong: boolean }[]} samples that the visitor can click on */
  offer(samples) {
    const items = samples.map(({ file, isWrong }) => {
      const url = URL.createObjectURL(file);
      const shown = mediaKinds[kindOf(file) ?? "image"].offer(url, file.name);
      for (const event of ["load", "loadeddata", "error"]) {
        shown.addEventListener(event, () => URL.revokeObjectURL(url), { once: true });
      }
      const label = isWrong ? [make("span", { class: "wrong" }, "Wrong caption")] : [];
      const button = make("button", { type: "button" }, shown, ...label);
      if (isWrong) button.title = "The model gets this one wrong.";
      button.addEventListener("click", () => this.#onFile(file));
      return make("li", {}, button);
    });
    find("ul", HTMLUListElement, this.#samples).replaceChildren(...items);
    this.#samples.hidden = samples.length === 0;
  }

  /** Accepts files that are dropped anywhere on the page. */
  #acceptDrops() {
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      this.#main.classList.add("drop-here");
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) this.#main.classList.remove("drop-here");
    });
    document.addEventListener("drop", (event) => {
      this.#main.classList.remove("drop-here");
      if (this.#take(event.dataTransfer?.files)) event.preventDefault();
    });
  }

  /** @param {FileList | null | undefined} files */
  #take(files) {
    const [file] = files ?? [];
    if (file) this.#onFile(file);
    return file !== undefined;
  }
}
