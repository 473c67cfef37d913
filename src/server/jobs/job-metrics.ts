import { setTimeout as pause } from "node:timers/promises";
import { Counter, Gauge, type Registry } from "prom-client";

/** What became of a job. A retry is an attempt after which the job is run again. */
export type JobResult = "completed" | "failed" | "retried";

/** Time for the number of waiting jobs, in milliseconds; without Redis, the last number is reported. */
const COUNT_TIMEOUT = 1000;

/**
 * Adds the metrics of a worker to those of the service.
 *
 * @param active jobs that this worker is processing
 * @param waiting reads the number of jobs in the queue that no worker has started
 * @returns counts a result
 */
export function addJobMetrics(
  registry: Registry,
  active: () => number,
  waiting: () => Promise<number>,
): (result: JobResult) => void {
  const registers = [registry];
  const results = new Counter({
    name: "epalm_jobs_total",
    help: "Jobs by result: completed, failed, or retried after a failure or a stall.",
    labelNames: ["result"] as const,
    registers,
  });
  for (const result of ["completed", "failed", "retried"]) results.inc({ result }, 0);
  new Gauge({
    name: "epalm_jobs_active",
    help: "Jobs that this worker is processing.",
    registers,
    collect() {
      this.set(active());
    },
  });
  new Gauge({
    name: "epalm_jobs_waiting",
    help: "Jobs in the queue that no worker has started.",
    registers,
    async collect() {
      const late = pause(COUNT_TIMEOUT, undefined, { ref: false });
      const count = await Promise.race([waiting().catch(() => undefined), late]);
      if (count !== undefined) this.set(count);
    },
  });
  return (result) => results.inc({ result });
}
