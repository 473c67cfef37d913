/**
 * Runs a service with a signal that fires on SIGTERM, too.
 *
 * @param signal fires on Ctrl-C
 */
export async function untilTerminated(signal: AbortSignal, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const ending = new AbortController();
  const end = () => ending.abort();
  signal.addEventListener("abort", end, { once: true });
  // Only once, so that a second signal ends the process at once.
  process.once("SIGTERM", end);
  try {
    await run(ending.signal);
  } finally {
    process.off("SIGTERM", end);
  }
}
