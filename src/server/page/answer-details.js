import { make } from "./make-element.js";

/**
 * @typedef {import("../../wire.js").TextAnswer} TextAnswer
 * @typedef {import("../../wire.js").WireText} WireText
 * @typedef {NonNullable<WireText["tokens"]>} Tokens
 */

/** Stages of a request in their order, under their names in `timings`. */
const stages = /** @type {const} */ (["queue", "media", "encoder", "adapter", "decoder"]);

/**
 * Creates a collapsed element with the probabilities of the tokens and the time per stage.
 *
 * @param {TextAnswer} answer
 */
export function answerDetails(answer) {
  const [best] = answer.texts;
  const total = stages.reduce((sum, stage) => sum + answer.timings[stage], 0);
  const tokens = best?.tokens ?? [];
  const facts = [
    ...(best && best.probability === undefined ? [`score ${decimal(best.score)}`] : []),
    ...(tokens.length > 0 ? [`${tokens.length} ${tokens.length === 1 ? "token" : "tokens"}`] : []),
    ...(best?.finish_reason === "length" ? ["truncated"] : []),
    ...(answer.confidence === undefined ? [] : [`confidence ${percent(answer.confidence)}`]),
    ...(answer.familiarity === undefined ? [] : [`familiarity ${percent(answer.familiarity)}`]),
    duration(total),
  ];
  return make(
    "details",
    { class: "how" },
    make("summary", {}, facts.join(" · ")),
    ...(tokens.length > 0 ? [tokenList(tokens)] : []),
    timingTable(answer.timings, total),
    make("p", { class: "hint" }, `Model ${answer.model}, adapter ${answer.adapter}`),
  );
}

/**
 * Lists the tokens with their probabilities; the less probable a token, the stronger its shade.
 *
 * @param {Tokens} tokens
 */
function tokenList(tokens) {
  const items = tokens.map(({ text, log_prob }) => {
    const probability = Math.exp(log_prob);
    const item = make(
      "li",
      {},
      make("span", { class: "token" }, visible(text)),
      make("span", { class: "percent" }, percent(probability)),
    );
    item.title = `log-probability ${decimal(log_prob)}`;
    item.style.setProperty("--unsure", (1 - probability).toFixed(3));
    return item;
  });
  return make("div", {}, make("h3", {}, "Probability of each token"), make("ol", { class: "tokens" }, ...items));
}

/**
 * @param {TextAnswer["timings"]} timings
 * @param {number} total
 */
function timingTable(timings, total) {
  const rows = stages.map((stage) => {
    const bar = make("td", { class: "bar", "aria-hidden": "true" }, make("span"));
    bar.style.setProperty("--share", String(total === 0 ? 0 : timings[stage] / total));
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, stage),
      make("td", { class: "number" }, duration(timings[stage])),
      bar,
    );
  });
  return make("div", {}, make("h3", {}, "Time per stage"), make("table", {}, ...rows));
}

/**
 * Lists the candidates with their probabilities, best first.
 *
 * @param {readonly WireText[]} texts
 */
export function ranking(texts) {
  const items = texts.map(({ text, probability = 0 }) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
    bar.style.setProperty("--share", String(probability));
    return make("li", {}, make("span", {}, text), make("span", { class: "number" }, percent(probability)), bar);
  });
  return make("ol", { class: "ranking" }, ...items);
}

/**
 * Lists all texts except the best one, with their scores.
 *
 * @param {readonly WireText[]} texts
 */
export function otherTexts(texts) {
  const items = texts.map(({ text, score }) =>
    make("li", {}, make("span", {}, text), make("span", { class: "number" }, decimal(score))),
  );
  return make("ol", { class: "others", start: "2" }, ...items);
}

/**
 * Makes a token visible: removes the space at the start of a word, and shows other whitespace as symbols.
 *
 * @param {string} text
 */
function visible(text) {
  return text.trim() || text.replaceAll("\n", "↵").replaceAll(" ", "␣") || "∅";
}

/** @param {number} value */
function decimal(value) {
  return value.toFixed(2).replace("-", "−");
}

/** @param {number} share */
function percent(share) {
  return share > 0 && share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`;
}

/** @param {number} milliseconds */
function duration(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
