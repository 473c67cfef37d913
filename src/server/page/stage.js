import { find, make } from "./make-element.js";
import { anyOf, kindOf, mediaKinds } from "./media-kinds.js";

/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/** Where a medium is chosen, dropped or pasted, and then shown. */
export class Stage {
  #main = find("main", HTMLElement);
  #figure = find("#figure", HTMLElement);
  #problem = find("#medium-problem", HTMLParagraphElement);
  #input = find("#file", HTMLInputElement);
  #samples = find("#samples", HTMLElement);
  /** The address of what is shown, to be given back. */
  #url = "";
  #onFile;

  /** @param {(file: File) => void} onFile is told of each file that the visitor gives */
  constructor(onFile) {
    this.#onFile = onFile;
    this.#input.addEventListener("change", () => {
      this.#take(this.#input.files);
      // The same file, chosen once more, is to count as well.
      this.#input.value = "";
    });
    document.addEventListener("paste", (event) => {
      // Office programs put a picture of a text beside it: whoever pastes that means the text.
      if (event.clipboardData?.types.includes("text/plain")) return;
      if (this.#take(event.clipboardData?.files)) event.preventDefault();
    });
    this.#acceptDrops();
  }

  /** @param {readonly MediaKind[]} kinds that can be chosen from now on */
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
    // TIFF and AVI, for two, are read by the service but by few browsers.
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

  /** @param {string} sentence why a file was not taken */
  complain(sentence) {
    this.#problem.textContent = sentence;
    this.#problem.hidden = false;
  }

  /** @param {readonly File[]} files to click on */
  offer(files) {
    const items = files.map((file) => {
      const url = URL.createObjectURL(file);
      const shown = mediaKinds[kindOf(file) ?? "image"].offer(url, file.name);
      for (const event of ["load", "loadeddata", "error"]) {
        shown.addEventListener(event, () => URL.revokeObjectURL(url), { once: true });
      }
      const button = make("button", { type: "button" }, shown);
      button.addEventListener("click", () => this.#onFile(file));
      return make("li", {}, button);
    });
    find("ul", HTMLUListElement, this.#samples).replaceChildren(...items);
    this.#samples.hidden = files.length === 0;
  }

  /** The whole page is where a file may be dropped. */
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
