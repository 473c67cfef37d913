import { answerDetails, otherTexts, ranking } from "./answer-details.js";
import { make } from "./make-element.js";
import { mediaKinds } from "./media-kinds.js";

/**
 * @typedef {import("../../wire.js").TextAnswer} TextAnswer
 * @typedef {import("./plain-words.js").PlainWords} PlainWords
 */

/**
 * What a turn asked, and the answer of the service or the error.
 *
 * @typedef {{ readonly question?: string } & ({ readonly answer: TextAnswer } | { readonly error: string })} Outcome
 */

/**
 * A conversation that was taken off the page.
 *
 * @typedef {object} Kept
 * @property {readonly Node[]} items
 * @property {readonly Turn[]} turns
 */

/** The questions about the current medium and their answers, newest last. */
export class Conversation {
  #list;
  #onAgain;
  #onChange;
  /** @type {readonly Turn[]} */
  #turns = [];

  /**
   * @param {HTMLElement} list
   * @param {(question: string) => void} onAgain called with a question that the visitor wants to repeat
   * @param {() => void} onChange called when a turn ends, or when the turns are replaced
   */
  constructor(list, onAgain, onChange) {
    this.#list = list;
    this.#onAgain = onAgain;
    this.#onChange = onChange;
  }

  /** The finished turns: requests with their answers, as the service sent them, or errors. */
  get record() {
    return this.#turns.flatMap((turn) => (turn.outcome ? [turn.outcome] : []));
  }

  /**
   * Cancels running requests and removes all turns.
   *
   * @returns {Kept} the removed turns, for `restore`
   */
  clear() {
    for (const button of this.#list.querySelectorAll("button.stop")) {
      if (button instanceof HTMLElement) button.click();
    }
    const kept = { items: [...this.#list.childNodes], turns: this.#turns };
    this.restore({ items: [], turns: [] });
    return kept;
  }

  /** Replaces all turns by those of an earlier conversation. @param {Kept} kept */
  restore({ items, turns }) {
    this.#list.replaceChildren(...items);
    this.#turns = turns;
    this.#onChange();
  }

  /**
   * Adds a turn, which waits for its answer.
   *
   * @param {string | undefined} question undefined for a caption
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
    const turn = new Turn(item, question, onStop, this.#onChange);
    this.#turns = [...this.#turns, turn];
    return turn;
  }
}

/** @param {TextAnswer} answer */
function unfamiliarSentence({ modality }) {
  return `This model has not seen ${mediaKinds[modality].many} like this one. Its answer is probably wrong.`;
}

/** One question or caption, with its answer or error. */
class Turn {
  #item;
  #text = make("p", { class: "answer", "aria-busy": "true" });
  #stop = make("button", { type: "button", class: "quiet stop" }, "Stop");
  #question;
  #onEnd;
  /** @type {Outcome | undefined} */
  outcome;

  /**
   * @param {HTMLElement} item
   * @param {string | undefined} question
   * @param {() => void} onStop
   * @param {() => void} onEnd
   */
  constructor(item, question, onStop, onEnd) {
    this.#item = item;
    this.#question = question === undefined ? {} : { question };
    this.#onEnd = onEnd;
    this.#stop.addEventListener("click", onStop, { once: true });
    item.append(this.#text, this.#stop);
    item.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} piece the next part of the text */
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
      this.#text.textContent = "The model generated no text.";
    }
    if (answer.unfamiliar) this.#text.before(make("p", { class: "unfamiliar" }, unfamiliarSentence(answer)));
    const isRanking = answer.texts[0]?.probability !== undefined;
    if (isRanking) this.#item.append(ranking(answer.texts));
    else if (answer.texts.length > 1) this.#item.append(otherTexts(answer.texts.slice(1)));
    this.#item.append(answerDetails(answer));
    this.outcome = { ...this.#question, answer };
    this.#onEnd();
    this.#item.scrollIntoView({ block: "nearest" });
  }

  /** @param {PlainWords} words */
  fail({ sentence, detail }) {
    this.#end();
    if (this.#text.textContent === "") this.#text.remove();
    this.#item.append(problem({ sentence, detail }));
    this.outcome = { ...this.#question, error: detail === "" ? sentence : `${sentence} ${detail}` };
    this.#onEnd();
    this.#item.scrollIntoView({ block: "nearest" });
  }

  /** Called when the visitor cancels the request. The text generated so far remains. */
  stopped() {
    this.#end();
    this.#text.classList.add("empty");
    this.#text.append(this.#text.textContent === "" ? "Stopped." : " …");
  }

  #end() {
    this.#text.removeAttribute("aria-busy");
    // Removing the focused button loses the focus. The next press of Tab should continue from this turn.
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
