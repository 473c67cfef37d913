import { once } from "../core/memoized.js";
import type { Session } from "./session.js";

/** A session of which only results are wanted, so that it may be opened by its first run. */
export type LazySession = Pick<Session, "run" | "close">;

/** Opens a session now or, if it is to be `lazy`, by its first run. */
export async function openNowOrLater(
  open: () => Promise<Session>,
  { lazy = false }: { readonly lazy?: boolean | undefined },
): Promise<LazySession> {
  if (!lazy) return open();
  let isOpen = false;
  const opened = once(async () => {
    isOpen = true;
    return open();
  });
  return {
    run: async (feeds, fetches) => (await opened()).run(feeds, fetches),
    close: async () => {
      if (isOpen) await (await opened()).close();
    },
  };
}
