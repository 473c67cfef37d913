/**
 * The server-sent events of an answer, as they come. `EventSource` would do the same, but cannot send a medium.
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
      // The last one has no end yet.
      rest = blocks.pop() ?? "";
      yield* blocks.map(readEvent);
    }
  } finally {
    // Whoever stops reading wants no more of it; the service then stops its work.
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
