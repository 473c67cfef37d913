import { answerDetails, otherTexts, ranking } from "./answer-details.js";
import { make } from "./make-element.js";

/**
 * @typedef {import("../../wire.js").TextAnswer} TextAnswer
 * @typedef {import("./plain-words.js").PlainWords} PlainWords
 */

/** What was asked about the current medium, and answered; the newest last. */
export class Conversation {
  #list;
  #onAgain;

  /**
   * @param {HTMLElement} list
   * @param {(question: string) => void} onAgain is told of a question that is to be asked again
   */
  constructor(list, onAgain) {
    this.#list = list;
    this.#onAgain = onAgain;
  }

  /** Forgets everything; what still runs is stopped. */
  clear() {
    for (const button of this.#list.querySelectorAll("button.stop")) {
      if (button instanceof HTMLElement) button.click();
    }
    this.#list.replaceChildren();
  }

  /**
   * A new turn, which waits for its answer.
   *
   * @param {string | undefined} question undefined: a caption
   * @param {() => void} onStop
   */
  begin(question, onStop) {
    const item = make("li", { class: "turn" });
    if (question !== undefined) {
      const again = make("button", { type: "button", class: "question", title: "Ask again" }, question);
      again.addEventListener("click", () => this.#onAgain(question));
      item.append(again);
    }
    this.#list.append(item);
    return new Turn(item, onStop);
  }
}

/** One question, or a caption, with what became of it. */
class Turn {
  #item;
  #text = make("p", { class: "answer", "aria-busy": "true" });
  #stop = make("button", { type: "button", class: "quiet stop" }, "Stop");

  /**
   * @param {HTMLElement} item
   * @param {() => void} onStop
   */
  constructor(item, onStop) {
    this.#item = item;
    this.#stop.addEventListener("click", onStop, { once: true });
    item.append(this.#text, this.#stop);
    item.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} piece of the text, as it comes */
  grow(piece) {
    this.#text.append(piece);
    this.#stop.scrollIntoView({ block: "nearest" });
  }

  /** @param {TextAnswer} answer */
  finish(answer) {
    this.#end();
    this.#text.textContent = answer.text.trim();
    if (this.#text.textContent === "") {
      this.#text.classList.add("empty");
      this.#text.textContent = "The model said nothing.";
    }
    const isRanking = answer.texts[0]?.probability !== undefined;
    if (isRanking) this.#item.append(ranking(answer.texts));
    else if (answer.texts.length > 1) this.#item.append(otherTexts(answer.texts.slice(1)));
    this.#item.append(answerDetails(answer));
    this.#item.scrollIntoView({ block: "nearest" });
  }

  /** @param {PlainWords} words */
  fail({ sentence, detail }) {
    this.#end();
    if (this.#text.textContent === "") this.#text.remove();
    this.#item.append(problem({ sentence, detail }));
    this.#item.scrollIntoView({ block: "nearest" });
  }

  /** Taken back by whoever asked; what came stays. */
  stopped() {
    this.#end();
    this.#text.classList.add("empty");
    this.#text.append(this.#text.textContent === "" ? "Stopped." : " …");
  }

  #end() {
    this.#text.removeAttribute("aria-busy");
    // A button that goes takes the focus with it; the next press of Tab is to go on from here.
    if (document.activeElement === this.#stop) {
      this.#item.tabIndex = -1;
      this.#item.focus();
    }
    this.#stop.remove();
  }
}

/** @param {PlainWords} words */
function problem({ sentence, detail }) {
  const element = make("div", { class: "problem", role: "alert" }, make("p", {}, sentence));
  if (detail !== "") element.append(make("p", { class: "hint" }, detail));
  return element;
}
