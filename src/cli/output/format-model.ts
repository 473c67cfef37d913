import type { AdapterSettings } from "../../adapter/adapter.js";
import type { PatchSelection } from "../../adapter/patch-selection.js";
import type { VisualConnector } from "../../adapter/visual-connector.js";
import type { Manifest } from "../../index.js";
import { capabilitiesOf } from "../../model/capabilities.js";
import { adapterModality, encoderOf, encodersOf } from "../../model/encoders.js";
import type { EncoderManifest } from "../../model/manifest.js";
import { type AdapterDescription, graphBytes, type ModelDescription } from "./describe-model.js";
import { formatBytes, formatCount, formatShare, formatTable } from "./output.js";

/** Formats the description of a model folder. */
export function formatModel(model: ModelDescription): string {
  const { manifest, bytes, path } = model;
  const files = Object.keys(manifest.files).length;
  const adapters = Object.entries(model.adapters).map(([name, adapter]) => formatAdapter(model, name, adapter));
  return [
    `${manifest.name}: a model folder of ${formatBytes(bytes)} in ${files} files, ${path}`,
    backboneTable(model),
    parameterTable(model),
    taskTable(manifest),
    ...formatCapabilities(manifest),
    ...adapters,
  ].join("\n\n");
}

function backboneTable({ manifest, decoderBytes }: ModelDescription): string {
  const { decoder } = manifest;
  const { shape } = decoder;
  const row = (name: string, part: EncoderManifest | typeof decoder, bytes: number, form: string) => [
    name,
    part.architecture,
    part.precision,
    formatBytes(bytes),
    form,
    [part.origin.source, part.origin.revision?.slice(0, 12)].filter(Boolean).join("@"),
    part.origin.license ?? "not stated",
  ];
  return formatTable([
    ["", "architecture", "precision", "size", "shape", "origin", "licence"],
    ...encodersOf(manifest).map((encoder) =>
      row(
        encoderName(manifest, encoder),
        encoder,
        graphBytes(manifest, encoder),
        `${encoderStates(encoder)} of width ${encoder.width}, input ${encoder.inputShape.join(" x ")}`,
      ),
    ),
    row(
      "decoder",
      decoder,
      decoderBytes,
      `${shape.layers} layers of width ${shape.width}, ${formatCount(shape.vocabulary)} tokens, ${formatCount(shape.positions)} positions`,
    ),
  ]);
}

/** The number of states, and what they are unless they are class tokens. */
function encoderStates({ depth, pooling }: EncoderManifest): string {
  if (pooling === "attention") return "one state from attention pooling";
  return pooling === "mean" ? `${depth} blocks (means of patches)` : `${depth} blocks`;
}

/** A single image encoder is just called `encoder`; in all other cases the name includes the modality. */
function encoderName(manifest: Manifest, { modality }: EncoderManifest): string {
  const isUsual = modality === "image" && encodersOf(manifest).length === 1;
  return isUsual ? "encoder" : `${modality} encoder`;
}

function parameterTable({ manifest, frozenParameters, adapters }: ModelDescription): string {
  const parts = [
    ...encodersOf(manifest).map((encoder) => [encoderName(manifest, encoder), encoder.parameters] as const),
    ["decoder", manifest.decoder.parameters] as const,
  ];
  return formatTable([
    [
      "frozen parameters",
      formatCount(frozenParameters),
      parts.map(([name, count]) => `${name} ${formatCount(count)}`).join(", "),
    ],
    ...Object.entries(adapters).map(([name, { trainedParameters, trainedShare }]) => [
      "trained parameters",
      formatCount(trainedParameters),
      `adapter ${name}, ${formatShare(trainedShare)} of all`,
    ]),
  ]);
}

function taskTable({ tasks, adapters }: Manifest): string {
  const rows = (["caption", "vqa"] as const).map((name) => {
    const { prompt, generation } = tasks[name];
    const trained = Object.entries(adapters).filter(([, adapter]) => adapter.tasks.includes(name));
    return [
      name,
      prompt === "" ? "(start token only)" : prompt,
      Object.entries(generation)
        .map(([option, value]) => `${option} ${value}`)
        .join(", "),
      trained.map(([adapter]) => adapter).join(", ") || "none",
    ];
  });
  return formatTable([["task", "prompt", "decoding", "adapters"], ...rows]);
}

const titles = { caption: "captions of", vqa: "questions about" } as const;
const media = { image: "images", audio: "audio", video: "videos" } as const;

/** One paragraph per task and modality that the manifest describes. */
export function formatCapabilities(manifest: Manifest): string[] {
  return capabilitiesOf(manifest).map(({ task, modality, description, exampleQuestions }) =>
    [
      `${titles[task]} ${media[modality]}${description === undefined ? "" : `: ${description}`}`,
      ...exampleQuestions.map((question) => `  ${question}`),
    ].join("\n"),
  );
}

function formatAdapter({ manifest }: ModelDescription, name: string, adapter: AdapterDescription): string {
  const { settings } = adapter;
  const entry = manifest.adapters[name];
  const encoder = encoderOf(manifest, entry ? adapterModality(manifest, entry) : manifest.encoder.modality);
  const takes = encodersOf(manifest).length > 1 ? `, for the ${encoderName(manifest, encoder)}` : "";
  return [
    `adapter ${name}, ${entry?.file ?? ""}${takes}`,
    formatSettings(settings),
    formatCalibration(adapter.calibration),
    formatPlan(tokensByLayer(adapter, encoder), settings.connector ? "visual tokens" : "perceptual token"),
  ].join("\n");
}

function formatCalibration(calibration: AdapterDescription["calibration"]): string {
  if (!calibration) return "not calibrated: answers have neither familiarity nor confidence";
  const { familiarityMedia, confidence } = calibration;
  const familiarity =
    familiarityMedia === undefined ? [] : [`familiarity, from ${formatCount(familiarityMedia)} media`];
  return `calibrated: ${[...familiarity, ...confidence.map((kind) => `confidence of ${kind}`)].join("; ")}`;
}

/** Formats the settings of an adapter. */
export function formatSettings(settings: AdapterSettings): string {
  const { promptLength, promptForm } = settings;
  if (settings.connector) {
    return [
      ...formatConnector(settings.connector),
      `at layers ${settings.startLayer} to ${settings.endLayer - 1}`,
      promptLength > 0 ? `soft prompt of ${promptLength} (${promptForm})` : "no soft prompt",
    ].join("; ");
  }
  const { injectedStates, sharedConnector, perceptionSees } = settings;
  const connectors = sharedConnector || injectedStates === 1 ? "one connector" : "one connector per state";
  return [
    `${injectedStates} injected states, ${connectors}`,
    `into layers ${settings.startLayer} to ${settings.endLayer - 1}`,
    `soft prompt of ${promptLength} (${promptForm})`,
    `the perceptual token attends to ${perceptionSees}`,
  ].join("; ");
}

function formatConnector(connector: VisualConnector): string[] {
  const norm = connector.norm ? ["a norm of the visual tokens"] : [];
  if (connector.kind === "queries") {
    const { queries, width, layers, heads, depths } = connector;
    const states = depths > 1 ? `patch states of the last ${depths} blocks` : "patch states of the last block";
    return [
      `connector queries: ${queries} queries, ${layers} layers of width ${width}, ${heads} heads`,
      states,
      ...norm,
    ];
  }
  const { states, projection, activation, ending } = connector;
  const form = projection === "mlp" && activation ? `mlp with ${activation}` : projection;
  return [
    `connector prefix: ${formatSelection(states)}, ${form}`,
    ...norm,
    ...(ending ? ["a trained embedding after the visual tokens"] : []),
  ];
}

function formatSelection(selection: PatchSelection): string {
  if (selection === "all") return "all patch states";
  return "pool" in selection
    ? `patch states, pool ${selection.pool}`
    : `patch states, pixel shuffle ${selection.pixelShuffle}`;
}

/** What a layer gets from the medium, for each layer. */
function tokensByLayer({ settings, plan, visualTokens }: AdapterDescription, { depth }: EncoderManifest): string[] {
  if ("stateAt" in plan && !settings.connector) {
    return plan.stateAt.map((state, layer) =>
      tokenAt(plan.visible[layer] ?? false, state, settings.injectedStates, depth),
    );
  }
  const { startLayer } = settings;
  return plan.visible.map((visible, layer) => {
    if (!visible) return "absent";
    return layer === startLayer ? `${visualTokens} enter` : `${visualTokens}`;
  });
}

/** A table of the layers, with one row for consecutive layers that are alike. */
function formatPlan(tokens: readonly string[], title: string): string {
  const rows: { first: number; last: number; token: string }[] = [];
  for (const [layer, token] of tokens.entries()) {
    const before = rows.at(-1);
    if (before?.token === token) before.last = layer;
    else rows.push({ first: layer, last: layer, token });
  }
  return formatTable([
    ["layer", title],
    ...rows.map(({ first, last, token }) => [first === last ? `${first}` : `${first}-${last}`, token]),
  ]);
}

function tokenAt(visible: boolean, state: number | undefined, states: number, depth: number): string {
  if (state !== undefined) return `state ${state}, from encoder block ${depth - states + state}`;
  return visible ? "unchanged" : "absent";
}
