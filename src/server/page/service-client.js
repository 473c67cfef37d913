import { readEvents } from "./read-events.js";

/**
 * @typedef {import("../../wire.js").Problem} Problem
 * @typedef {import("../../wire.js").TextAnswer} TextAnswer
 * @typedef {import("../../wire.js").ModelList["data"][number]} Model
 * @typedef {import("../../wire.js").SampleList["samples"][number]} Sample
 */

/** Session storage: it is deleted with the tab, and the browser never sends it by itself. */
const KEY_ITEM = "epalm-key";

/** The service answered with an error. */
export class ServiceProblem extends Error {
  /** @param {Partial<Problem> & { readonly status: number }} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? `status ${problem.status}`);
    this.problem = problem;
  }
}

/** There was no response, or an incomplete one. */
export class ConnectionLost extends Error {}

/** Client of the service that serves this page. URLs are relative, so that the service may be under any path. */
export class ServiceClient {
  #key = sessionStorage.getItem(KEY_ITEM) ?? "";

  get hasKey() {
    return this.#key !== "";
  }

  /** @param {string} key */
  useKey(key) {
    this.#key = key;
    sessionStorage.setItem(KEY_ITEM, key);
  }

  /** @returns {Promise<readonly Model[]>} */
  async models() {
    const response = await this.#request("v1/models");
    /** @type {{ data: readonly Model[] }} */
    const { data } = await response.json();
    // Names with a slash are adapters, which the models list as well.
    return data.filter(({ id }) => !id.includes("/"));
  }

  /** @returns {Promise<readonly Sample[]>} */
  async samples() {
    const response = await this.#request("samples");
    return (await response.json()).samples;
  }

  /** @param {Sample} sample */
  async sampleFile({ href, name, type }) {
    const response = await this.#request(href);
    return new File([await response.blob()], name, { type });
  }

  /**
   * Sends a request and passes on each piece of the text.
   *
   * @param {"caption" | "vqa"} path
   * @param {FormData} form
   * @param {AbortSignal} signal
   * @param {(piece: string) => void} onText
   * @returns {Promise<TextAnswer>}
   */
  async ask(path, form, signal, onText) {
    const headers = { accept: "text/event-stream" };
    const { body } = await this.#request(path, { method: "POST", body: form, headers, signal });
    try {
      for await (const { name, data } of readEvents(body ?? new ReadableStream())) {
        if (name === "text") onText(JSON.parse(data).text);
        if (name === "answer") return JSON.parse(data);
        if (name === "problem") throw new ServiceProblem(JSON.parse(data));
      }
    } catch (error) {
      throw asConnectionLost(error);
    }
    throw new ConnectionLost("the stream ended before the answer was complete");
  }

  /**
   * @param {string} path
   * @param {RequestInit & { readonly headers?: Record<string, string> }} options
   */
  async #request(path, { headers = {}, ...rest } = {}) {
    const authorization = this.hasKey ? { authorization: `Bearer ${this.#key}` } : {};
    let response;
    try {
      response = await fetch(path, { ...rest, headers: { ...headers, ...authorization } });
    } catch (error) {
      throw asConnectionLost(error);
    }
    if (response.ok) return response;
    // A proxy in front of the service may answer with something other than JSON.
    const problem = await response.json().catch(() => ({}));
    throw new ServiceProblem({ ...problem, status: response.status });
  }
}

/**
 * Converts the TypeError that browsers throw for any network error.
 *
 * @param {unknown} error
 */
function asConnectionLost(error) {
  return error instanceof TypeError ? new ConnectionLost(error.message, { cause: error }) : error;
}
