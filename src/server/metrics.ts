import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { ModelCounts } from "../index.js";
import type { ListAnswer, TextAnswer } from "../wire.js";
import type { Models } from "./models.js";
import type { Admission } from "./queue/admission.js";
import type { ServiceThreads } from "./threads.js";

/** Bucket bounds in seconds: from the projection of a cached image to a long text on a slow machine. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Bucket bounds: the default threshold, and shares at which a drift shows. */
const FAMILIARITIES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

/** Gauges of prom-client whose names end like those of counters; all are sums of other metrics or duplicate them. */
const misnamedMetrics = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];

/** The metrics of `/metrics`; docs/serving.md lists them. */
export class Metrics {
  readonly registry = new Registry();
  readonly #models: Models;
  readonly #copied: ReadonlyMap<string, Copied>;
  readonly #requests: Counter<"route" | "method" | "status">;
  readonly #requestSeconds: Histogram<"route">;
  readonly #stageSeconds: Histogram<"model" | "stage">;
  readonly #tokens: Counter<"model" | "kind">;
  readonly #familiarity: Histogram<"model" | "adapter">;
  readonly #readEventLoop: () => void;

  constructor(admission: Admission, models: Models, threads: ServiceThreads) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    for (const name of misnamedMetrics) this.registry.removeSingleMetric(name);
    this.#requests = new Counter({
      name: "epalm_http_requests_total",
      help: "Responses sent, by route, method and status.",
      labelNames: ["route", "method", "status"],
      registers,
    });
    this.#requestSeconds = new Histogram({
      name: "epalm_http_request_seconds",
      help: "Time from the header of a request to the last byte of its response.",
      labelNames: ["route"],
      buckets: SECONDS,
      registers,
    });
    this.#stageSeconds = new Histogram({
      name: "epalm_stage_seconds",
      help: "Time of a request per stage: queue, media, encoder, adapter, decoder.",
      labelNames: ["model", "stage"],
      buckets: SECONDS,
      registers,
    });
    this.#tokens = new Counter({
      name: "epalm_tokens_total",
      help: "Prompt tokens and generated tokens.",
      labelNames: ["model", "kind"],
      registers,
    });
    this.#familiarity = new Histogram({
      name: "epalm_familiarity",
      help: "Familiarity of media by adapter; uniform if they are like those of its training.",
      labelNames: ["model", "adapter"],
      buckets: FAMILIARITIES,
      registers,
    });
    addQueueGauges(this.registry, admission);
    addThreadCounter(this.registry, threads);
    this.#readEventLoop = addEventLoopGauges(this.registry);
    this.#models = models;
    this.#copied = copied(this.registry);
  }

  /** All metrics in the text format of Prometheus. */
  async text(): Promise<string> {
    await copyCounts(this.#models, this.#copied);
    this.#readEventLoop();
    return this.registry.metrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  countRequest(route: string, method: string, status: number, seconds: number): void {
    this.#requests.inc({ route, method, status });
    this.#requestSeconds.observe({ route }, seconds);
  }

  /** @param timings milliseconds per stage */
  countStages(model: string, timings: Readonly<Record<string, number>>): void {
    for (const [stage, milliseconds] of Object.entries(timings)) {
      this.#stageSeconds.observe({ model, stage }, milliseconds / 1000);
    }
  }

  countAnswer({ model, adapter, timings, usage, familiarity }: TextAnswer | ListAnswer): void {
    this.countStages(model, timings);
    this.#tokens.inc({ model, kind: "prompt" }, usage.prompt_tokens);
    this.#tokens.inc({ model, kind: "new" }, usage.completion_tokens);
    if (familiarity !== undefined) this.#familiarity.observe({ model, adapter }, familiarity);
  }
}

function addQueueGauges(registry: Registry, admission: Admission): void {
  const gauges = {
    running: "Requests being processed.",
    waiting: "Complete requests that are waiting.",
    arriving: "Requests whose bodies are still arriving.",
    bytes: "Bytes of request bodies in memory.",
  } as const;
  for (const [name, help] of Object.entries(gauges) as [keyof typeof gauges, string][]) {
    new Gauge({
      name: `epalm_queue_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(admission[name]);
      },
    });
  }
}

function addThreadCounter(registry: Registry, threads: ServiceThreads): void {
  new Counter({
    name: "epalm_thread_restarts_total",
    help: "Worker threads that ended unexpectedly and were started again, by thread.",
    labelNames: ["thread"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [thread, replacements] of threads.replacements) this.inc({ thread }, replacements);
    },
  });
}

/** Interval at which the delay of the event loop is sampled; milliseconds. */
const LOOKED_AT = 10;

/**
 * Measures how late timers fire. `nodejs_eventloop_lag_…` of prom-client includes the sampling interval, so that it
 * reports 10 ms for an idle process.
 *
 * @returns sets the gauges to the delays since the last call
 */
function addEventLoopGauges(registry: Registry): () => void {
  const between = monitorEventLoopDelay({ resolution: LOOKED_AT });
  between.enable();
  const quantiles = [50, 90, 99] as const;
  const gauges = quantiles.map((percent) => ({
    percent,
    // A gauge may have no label `quantile`: summaries have it, but their quantiles cannot be set.
    gauge: new Gauge({
      name: `epalm_event_loop_delay_p${percent}_seconds`,
      help: `Delay of timers in the event loop since the last scrape, percentile ${percent}.`,
      registers: [],
    }),
  }));
  for (const { gauge } of gauges) registry.registerMetric(gauge);
  return () => {
    for (const { percent, gauge } of gauges) {
      const milliseconds = between.percentile(percent) / 1e6 - LOOKED_AT;
      gauge.set(Math.max(0, milliseconds) / 1000);
    }
    between.reset();
  };
}

/** Counters of the models, read at each scrape. */
const modelMetrics = {
  epalm_encoder_runs_total: "Runs of the encoder.",
  epalm_encoder_examples_total: "Media encoded; divided by the runs, the mean batch size.",
  epalm_state_cache_hits_total: "Media whose encoder states were in the cache.",
  epalm_state_cache_misses_total: "Media whose encoder states were not in the cache.",
  epalm_state_cache_bytes: "Bytes of encoder states in the cache.",
  epalm_decoder_steps_total: "Steps of the decoder.",
  epalm_decoder_rows_total: "Sequences computed in all steps; divided by the steps, the mean batch size.",
  epalm_decoder_batch_rows: "Sequences in the last step; 0 if nothing is running.",
  epalm_decoder_waiting: "Texts waiting for a place in the batch of the decoder.",
} as const;

/** A counter or a gauge that is set before each scrape. */
type Copied = Counter<"model"> | Gauge<"model">;

function copied(registry: Registry): ReadonlyMap<string, Copied> {
  const registers = [registry];
  return new Map(
    Object.entries(modelMetrics).map(([name, help]): [string, Copied] => {
      const settings = { name, help, labelNames: ["model"] as const, registers };
      return [name, name.endsWith("_total") ? new Counter(settings) : new Gauge(settings)];
    }),
  );
}

async function copyCounts(models: Models, metrics: ReadonlyMap<string, Copied>): Promise<void> {
  const counted = await Promise.all(
    Array.from(models.entries, async ([name, model]) => [name, await model.counts()] as const),
  );
  for (const metric of metrics.values()) metric.reset();
  for (const [model, counts] of counted) {
    for (const [name, value] of Object.entries(valuesOf(counts))) metrics.get(name)?.inc({ model }, value);
  }
}

function valuesOf({ encoder, decoder }: ModelCounts): Readonly<Record<keyof typeof modelMetrics, number>> {
  return {
    epalm_encoder_runs_total: encoder.runs,
    epalm_encoder_examples_total: encoder.examples,
    epalm_state_cache_hits_total: encoder.cacheHits,
    epalm_state_cache_misses_total: encoder.cacheMisses,
    epalm_state_cache_bytes: encoder.cacheBytes,
    epalm_decoder_steps_total: decoder.steps,
    epalm_decoder_rows_total: decoder.sequences,
    epalm_decoder_batch_rows: decoder.lastSequences,
    epalm_decoder_waiting: decoder.waiting,
  };
}
