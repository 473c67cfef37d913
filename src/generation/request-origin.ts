/**
 * Weights of the priority classes: how much capacity a client gets in relation to others that wait at the same time.
 * `interactive` is for people who wait for an answer, `bulk` for work that nobody waits for.
 */
export const priorityWeights = { interactive: 1, bulk: 1 / 8 } as const;

/** A priority class. */
export type Priority = keyof typeof priorityWeights;

/** On whose behalf a request is computed. Capacity is divided among clients, not among requests. */
export interface RequestOrigin {
  /** Any string that identifies the client. Default: all requests belong to the same client. */
  readonly client?: string | undefined;
  /** Default: `interactive`. */
  readonly priority?: Priority | undefined;
}

/** The requests of one client in one priority class, which share that client's capacity. */
export interface Flow {
  readonly name: string;
  readonly weight: number;
}

export function flowOf({ client = "", priority = "interactive" }: RequestOrigin): Flow {
  return { name: `${priority} ${client}`, weight: priorityWeights[priority] };
}
