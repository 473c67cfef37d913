import { anyOf } from "./media-kinds.js";
import { ConnectionLost, ServiceProblem } from "./service-client.js";

/** @typedef {import("./media-kinds.js").MediaKind} MediaKind */

/**
 * The description of an error: a sentence for the visitor, and the message of the service.
 *
 * @typedef {object} PlainWords
 * @property {string} sentence
 * @property {string} detail empty if it would only repeat the sentence
 */

/**
 * Sentences by error code.
 *
 * @type {ReadonlyMap<string, (kinds: readonly MediaKind[]) => string>}
 */
const sentences = new Map([
  ["invalid_option", () => "The service does not accept these options."],
  ["unauthorized", () => "This key is not valid."],
  ["not_found", () => "The model, adapter or file does not exist."],
  ["slow_request", () => "The upload took too long. A smaller file may help."],
  ["too_large", () => "This is more than the service accepts."],
  [
    "unsupported_media",
    (/** @type {readonly MediaKind[]} */ kinds) => `This file is not ${anyOf(kinds)} that the service can read.`,
  ],
  ["invalid_media", () => "This file is damaged and cannot be read."],
  ["unfamiliar", () => "This model has not seen media like this one and therefore gives no answer."],
  ["rate_limited", () => "Too many requests in a short time. Please wait a little."],
  ["overloaded", () => "The service is busy. Please try again in a moment."],
  ["unavailable", () => "A part of the service is being restarted. Please try again in a moment."],
  ["deadline_exceeded", () => "The answer took too long and was cancelled."],
]);

/** The field that contains the medium. With this field, the service detects the kind from the content. */
export const MEDIUM_FIELD = "media";

/** Codes for an unusable medium, about which no question can be answered. */
const mediumCodes = new Set(["unsupported_media", "invalid_media"]);

/**
 * @param {unknown} error
 * @param {readonly MediaKind[]} kinds kinds that the model accepts
 * @returns {PlainWords}
 */
export function plainWords(error, kinds) {
  if (error instanceof ConnectionLost) {
    return { sentence: "The connection to the service was lost.", detail: "" };
  }
  if (!(error instanceof ServiceProblem)) {
    return { sentence: "An error occurred in this page.", detail: String(error) };
  }
  const { code = "", detail = "", instance } = error.problem;
  const sentence = sentences.get(code)?.(kinds);
  if (sentence !== undefined) return { sentence, detail };
  const id = instance === undefined ? "" : ` The id in its log is ${instance}.`;
  return { sentence: `An error occurred in the service.${id}`, detail };
}

/**
 * Whether the medium caused the error, rather than the question or the options.
 *
 * @param {unknown} error
 */
export function isAboutMedium(error) {
  if (!(error instanceof ServiceProblem)) return false;
  const { code = "", field = "" } = error.problem;
  return mediumCodes.has(code) || (code === "too_large" && field === MEDIUM_FIELD);
}
