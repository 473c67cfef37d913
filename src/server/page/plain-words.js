import { anyOf } from "./media-kinds.js";
import { ConnectionLost, ServiceProblem } from "./service-client.js";

/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/**
 * What happened, in a sentence for whoever asked; and what the service itself says of it.
 *
 * @typedef {object} PlainWords
 * @property {string} sentence
 * @property {string} detail empty where it would only repeat the sentence
 */

/**
 * By code of the service's catalogue.
 *
 * @type {ReadonlyMap<string, (kinds: readonly MediaKind[]) => string>}
 */
const sentences = new Map([
  ["invalid_option", () => "The service cannot answer with these options."],
  ["unauthorized", () => "The service does not know this key."],
  ["not_found", () => "The service does not have what was asked for."],
  ["slow_request", () => "The upload took too long. A smaller file may help."],
  ["too_large", () => "This is more than the service takes."],
  [
    "unsupported_media",
    (/** @type {readonly MediaKind[]} */ kinds) => `This file is not ${anyOf(kinds)} that the service can read.`,
  ],
  ["invalid_media", () => "This file is damaged, and cannot be read."],
  ["rate_limited", () => "Too many questions in a short time. Please wait a little."],
  ["overloaded", () => "The service is busy. Please try again in a moment."],
  ["deadline_exceeded", () => "The answer took too long and was given up."],
]);

/** The field that carries the medium: what it is, the service finds out. */
export const MEDIUM_FIELD = "media";

/** Codes about the medium itself: no question about it can be answered. */
const mediumCodes = new Set(["unsupported_media", "invalid_media"]);

/**
 * @param {unknown} error
 * @param {readonly MediaKind[]} kinds that the model takes
 * @returns {PlainWords}
 */
export function plainWords(error, kinds) {
  if (error instanceof ConnectionLost) {
    return { sentence: "The connection to the service was lost.", detail: "" };
  }
  if (!(error instanceof ServiceProblem)) {
    return { sentence: "Something went wrong in this page.", detail: String(error) };
  }
  const { code = "", detail = "", instance } = error.problem;
  const sentence = sentences.get(code)?.(kinds);
  if (sentence !== undefined) return { sentence, detail };
  const id = instance === undefined ? "" : ` Its log has the id ${instance}.`;
  return { sentence: `Something went wrong in the service.${id}`, detail };
}

/**
 * Whether an error is about the medium, not about what was asked.
 *
 * @param {unknown} error
 */
export function isAboutMedium(error) {
  if (!(error instanceof ServiceProblem)) return false;
  const { code = "", field = "" } = error.problem;
  return mediumCodes.has(code) || (code === "too_large" && field === MEDIUM_FIELD);
}
