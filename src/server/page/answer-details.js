import { make } from "./make-element.js";

/**
 * @typedef {import("../../wire.js").TextAnswer} TextAnswer
 * @typedef {import("../../wire.js").WireText} WireText
 * @typedef {NonNullable<WireText["tokens"]>} Tokens
 */

/** Stages in the order in which they happen, as `timings` names them. */
const stages = /** @type {const} */ (["queue", "media", "encoder", "adapter", "decoder"]);

/**
 * How an answer came about, folded away: probabilities of its tokens, and time per stage.
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
    ...(best?.finish_reason === "length" ? ["cut off"] : []),
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
 * Each token with its probability, shaded the more the less sure the model was.
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
  return make(
    "div",
    {},
    make("h3", {}, "How sure the model was of each token"),
    make("ol", { class: "tokens" }, ...items),
  );
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
  return make("div", {}, make("h3", {}, "Where the time went"), make("table", {}, ...rows));
}

/**
 * Candidates with their probabilities, the best first.
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
 * Texts beside the best one, with their scores.
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
 * A token as it can be seen: without the space that begins words, and whitespace by signs.
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
