/**
 * Yields the server-sent events of a response. `EventSource` cannot be used, because it cannot send a medium.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{ readonly name: string, readonly data: string }, void>}
 */
export async function* readEvents(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      // The last block is not complete yet.
      rest = blocks.pop() ?? "";
      yield* blocks.map(readEvent);
    }
  } finally {
    // Closes the connection if the reader stops early, so that the service cancels the request.
    await reader.cancel();
  }
}

/** @param {string} block */
function readEvent(block) {
  let name = "message";
  /** @type {string[]} */
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice("event: ".length);
    if (line.startsWith("data: ")) data.push(line.slice("data: ".length));
  }
  return { name, data: data.join("\n") };
}
