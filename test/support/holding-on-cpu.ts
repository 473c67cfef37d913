import { type HeldTensor, type HoldingSession, openSession, type Session } from "../../src/runtime/session.js";

/** A session on the CPU that keeps tensors as a device would, so that its decoder mirrors the cache. */
export interface HoldingOnCpu extends Session {
  /** All tensors that were kept. */
  readonly kept: readonly HeldTensor[];
}

export function holdingOnCpu(session: Session): HoldingOnCpu {
  const kept: HeldTensor[] = [];
  return {
    kept,
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    run: (feeds, fetches, held) => session.run(feeds, fetches, held),
    close: () => session.close(),
    openHolding: async (graph) => {
      const opened = (await openSession(graph, { threads: 1 })) as Session & HoldingSession;
      return {
        async hold(feeds, held) {
          const tensors = await opened.hold(feeds, held);
          kept.push(...Object.values(tensors));
          return tensors;
        },
      };
    },
  };
}
