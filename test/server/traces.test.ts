import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { load } from "../../src/index.js";
import type { TextAnswer } from "../../src/wire.js";
import { eventsIn, form, postForm, postJson, problemIn, type Running, startServer } from "../support/running-server.js";
import { buildTinyModel, picture } from "../support/tiny-model.js";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";
const headers = { traceparent: `00-${TRACE}-${CALLER}-01` };

const exporter = new InMemorySpanExporter();
const useSdk = () => new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
const removeSdk = () => {
  for (const api of [trace, context, propagation]) api.disable();
};

let folder: string;
let running: Running;
before(async () => {
  folder = await buildTinyModel();
  running = await startServer({ models: { tiny: folder }, logLevel: "silent" });
});
after(removeSdk);

/** The spans since the last call, by their names, once that of the request has ended. */
async function spansOfRequest(): Promise<ReadonlyMap<string, ReadableSpan>> {
  const finished = () => exporter.getFinishedSpans();
  while (!finished().some(({ kind }) => kind === SpanKind.SERVER)) await pause(5);
  const spans = new Map(finished().map((span) => [span.name, span]));
  assert.equal(spans.size, finished().length);
  exporter.reset();
  return spans;
}

function spanNamed(spans: ReadonlyMap<string, ReadableSpan>, name: string): ReadableSpan {
  const span = spans.get(name);
  assert.ok(span, `${name} among ${Array.from(spans.keys())}`);
  return span;
}

const milliseconds = ([seconds, nanoseconds]: ReadableSpan["startTime"]) => seconds * 1000 + nanoseconds / 1e6;

/** Asserts that spans are children of the request's and lie within it. */
function assertChildren(spans: ReadonlyMap<string, ReadableSpan>, root: ReadableSpan, names: readonly string[]): void {
  assert.deepEqual(Array.from(spans.keys()).sort(), [...names, root.name].sort());
  for (const name of names) {
    const span = spanNamed(spans, name);
    const { parentSpanContext, startTime, endTime } = span;
    assert.equal(parentSpanContext?.spanId, root.spanContext().spanId, name);
    assert.equal(span.spanContext().traceId, root.spanContext().traceId, name);
    // The clocks of the spans differ by a few milliseconds.
    assert.ok(milliseconds(startTime) >= milliseconds(root.startTime) - 5, name);
    assert.ok(milliseconds(endTime) <= milliseconds(root.endTime) + 5, name);
    assert.ok(milliseconds(endTime) >= milliseconds(startTime), name);
  }
}

const stages = ["queue", "decode", "encode", "prefill", "generate"];

// The first test loads the SDK for the others.
describe("traces", () => {
  it("do not change answers, and are not kept without an SDK", async () => {
    const ask = async () => {
      const response = await postForm(`${running.url}/caption`, form(await picture(1), { max_tokens: "6" }), {
        headers,
      });
      const { timings: _differ, ...answer } = (await response.json()) as TextAnswer;
      return { status: response.status, answer };
    };
    const without = await ask();
    assert.equal(without.status, 200);
    assert.deepEqual(exporter.getFinishedSpans(), []);
    useSdk();
    assert.deepEqual(await ask(), without);
    await spansOfRequest();
  });

  it("continue the trace of the caller, with a span for each stage", async () => {
    const image = await picture(2);
    const caption = () => postForm(`${running.url}/caption`, form(image, { max_tokens: "5", beams: "1" }), { headers });
    const response = await caption();
    const { adapter } = (await response.json()) as TextAnswer;
    const spans = await spansOfRequest();
    const root = spanNamed(spans, "POST /caption");
    assert.equal(root.spanContext().traceId, TRACE);
    assert.equal(root.parentSpanContext?.spanId, CALLER);
    assert.deepEqual(root.attributes, {
      "http.request.method": "POST",
      "http.route": "/caption",
      "http.response.status_code": 200,
      "epalm.request_id": response.headers.get("x-request-id"),
      "epalm.model": "tiny",
      "epalm.adapter": adapter,
    });
    assert.equal(root.status.code, SpanStatusCode.UNSET);
    assertChildren(spans, root, stages);
    const encoded = { "epalm.modality": "image", "epalm.cache_hit": false, "epalm.batch_size": 1 };
    assert.deepEqual(spanNamed(spans, "encode").attributes, encoded);
    const decoded = { "epalm.adapter": adapter, "epalm.batch_size": 1 };
    assert.deepEqual(spanNamed(spans, "prefill").attributes, { ...decoded, "epalm.cache_hit": false });
    assert.deepEqual(spanNamed(spans, "generate").attributes, decoded);
    await caption();
    const again = await spansOfRequest();
    assertChildren(
      again,
      spanNamed(again, "POST /caption"),
      stages.filter((stage) => stage !== "decode"),
    );
    assert.equal(spanNamed(again, "encode").attributes["epalm.cache_hit"], true);
  });

  it("include streams until their last event", async () => {
    const body = form(await picture(3), { max_tokens: "5", stream: "true" });
    const events = await eventsIn(await postForm(`${running.url}/caption`, body));
    assert.equal(events.at(-1)?.name, "answer");
    const spans = await spansOfRequest();
    const root = spanNamed(spans, "POST /caption");
    assert.equal(root.parentSpanContext, undefined);
    assertChildren(spans, root, stages);
  });

  it("mark the stage that failed with the code of its error, and quote nothing of the request", async () => {
    await problemIn(await postForm(`${running.url}/caption`, form(Buffer.from("a secret"))), 415);
    const spans = await spansOfRequest();
    const decode = spanNamed(spans, "decode");
    assert.equal(decode.status.code, SpanStatusCode.ERROR);
    assert.equal(decode.attributes["error.type"], "unsupported_media");
    const root = spanNamed(spans, "POST /caption");
    assertChildren(spans, root, ["queue", "decode"]);
    // The conventions count only errors of the service as failures of the request.
    assert.equal(root.status.code, SpanStatusCode.UNSET);
    assert.equal(root.attributes["http.response.status_code"], 415);
    const written = Array.from(spans.values(), ({ attributes, events, status }) => ({ attributes, events, status }));
    assert.ok(!JSON.stringify(written).includes("secret"));
  });

  it("mark requests that the service could not answer in time as failed", async () => {
    const models = running.models;
    const slow = await startServer(
      { models: { tiny: folder }, logLevel: "silent", limits: { answerSeconds: 0.002 } },
      models,
    );
    const body = form(await picture(4), { max_tokens: "40", min_tokens: "40" });
    await problemIn(await postForm(`${slow.url}/caption`, body), 504);
    const spans = await spansOfRequest();
    const { status, attributes } = spanNamed(spans, "POST /caption");
    assert.equal(status.code, SpanStatusCode.ERROR);
    assert.equal(attributes["error.type"], "deadline_exceeded");
    // The cancelled work ends later.
    await pause(50);
    exporter.reset();
  });

  it("show how many requests shared a run", async () => {
    const png = (await picture(5)).toString("base64");
    const question = ["what is it?", "is it day?", "is it red?"];
    const response = await postJson(`${running.url}/vqa`, { image: png, question, max_tokens: 6, beams: 1 });
    assert.equal(response.status, 200);
    while (!exporter.getFinishedSpans().some(({ kind }) => kind === SpanKind.SERVER)) await pause(5);
    const generated = exporter.getFinishedSpans().filter(({ name }) => name === "generate");
    exporter.reset();
    assert.equal(generated.length, 3);
    // A text may begin some steps after the others.
    for (const { attributes } of generated) {
      const size = Number(attributes["epalm.batch_size"]);
      assert.ok(size > 1 && size <= 3, String(size));
    }
  });

  it("have the same spans in the library, as children of the caller's span", async () => {
    const model = await load(folder, { threads: 1 });
    const tracer = trace.getTracer("test");
    await tracer.startActiveSpan("own", { kind: SpanKind.SERVER }, async (span) => {
      await model.caption(await picture(6), { maxNewTokens: 3 });
      span.end();
    });
    const spans = await spansOfRequest();
    assertChildren(
      spans,
      spanNamed(spans, "own"),
      stages.filter((stage) => stage !== "queue"),
    );
    await model.close();
  });
});
