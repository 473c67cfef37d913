import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname } from "node:path";
import { type Device, devices } from "../../core/device.js";
import { threadsOf } from "../../core/environment.js";
import { messageOf } from "../../core/errors.js";
import { defaultCacheFolder } from "../../hub/resolve-folder.js";
import { findFfmpeg, isOutdated } from "../../media/decode/ffmpeg/find-ffmpeg.js";
import { deviceProblem, type OpenProbe } from "../../runtime/device.js";
import { SessionThread } from "../../runtime/session-thread.js";
import type { CliContext } from "../context.js";
import { formatNodes, type GraphNodes, measureFallbacks } from "../measure/cpu-fallbacks.js";
import { describeMachine, type Machine } from "../measure/machine.js";
import { measureReadBandwidth } from "../measure/read-bandwidth.js";
import { formatBytes, formatTable, print } from "../output/output.js";
import { packageVersion } from "../package-version.js";

export interface DoctorFlags {
  readonly model?: string;
  readonly json?: true;
}

interface Report {
  readonly epalm: string;
  readonly platform: string;
  readonly machine: Machine;
  /** Bytes per second that all cores together read from memory. */
  readonly readBandwidth: number;
  /** Threads per graph. */
  readonly threads: number;
  /** Why each device cannot compute on this machine; absent if it can. */
  readonly devices: Readonly<Record<Device, DeviceState>>;
  /** How the given model is computed on each device but the CPU that works, or why it is not. */
  readonly nodes?: Readonly<Record<string, GraphNodes | string>>;
  readonly ffmpeg: { readonly version: string; readonly path: string; readonly outdated: boolean } | string;
  readonly folders: readonly Folder[];
}

interface DeviceState {
  readonly works: boolean;
  /** Whether it computes in 16 bits. The CPU does, by converting to 32 bits where it has to. */
  readonly fp16: boolean;
  readonly problem?: string | undefined;
}

interface Folder {
  readonly use: "downloads" | "temporary files";
  /** The home folder is written as `~`. */
  readonly path: string;
  readonly freeBytes: number;
}

/** `epalm doctor` reports what a bug report needs. */
export async function doctor({ json, model }: DoctorFlags, { environment, signal }: CliContext): Promise<void> {
  const machine = describeMachine();
  const devices = await workingDevices();
  const report: Report = {
    epalm: packageVersion(),
    platform: `${process.platform} ${process.arch}`,
    machine,
    readBandwidth: await measureReadBandwidth(),
    threads: threadsOf(environment) ?? machine.cores,
    devices,
    ...(model === undefined ? {} : { nodes: await nodesOnDevices(model, devices, signal) }),
    ffmpeg: await describeFfmpeg(),
    folders: [
      await describeFolder("downloads", environment.hub.cacheFolder ?? defaultCacheFolder()),
      await describeFolder("temporary files", tmpdir()),
    ],
  };
  print(json ? JSON.stringify(report) : formatReport(report));
}

async function workingDevices(): Promise<Report["devices"]> {
  const thread = new SessionThread();
  const open: OpenProbe = (model, options) => thread.open(model, options);
  const found: [Device, DeviceState][] = [];
  for (const device of devices) {
    const problem = await deviceProblem(device, open);
    const fp16 = problem === undefined && (await deviceProblem(device, open, "fp16")) === undefined;
    found.push([device, { works: problem === undefined, fp16, ...(problem === undefined ? {} : { problem }) }]);
  }
  await thread.close();
  return Object.fromEntries(found) as Report["devices"];
}

/** Why a model is not computed there is part of the answer, not a failure of the report. */
async function nodesOnDevices(model: string, states: Report["devices"], signal: AbortSignal) {
  const nodes: Record<string, GraphNodes | string> = {};
  for (const device of devices) {
    if (device === "cpu" || !states[device].works) continue;
    nodes[device] = await measureFallbacks(model, { device }, signal).catch(messageOf);
  }
  return nodes;
}

async function describeFfmpeg(): Promise<Report["ffmpeg"]> {
  try {
    const { version, path, year } = await findFfmpeg();
    return { version, path: withoutHome(path), outdated: isOutdated(year) };
  } catch (error) {
    return messageOf(error);
  }
}

async function describeFolder(use: Folder["use"], path: string): Promise<Folder> {
  let existing = path;
  while (!existsSync(existing)) existing = dirname(existing);
  const { bavail, bsize } = await statfs(existing);
  return { use, path: withoutHome(path), freeBytes: bavail * bsize };
}

/** A bug report should not contain the name of a user. */
function withoutHome(path: string): string {
  return path.startsWith(homedir()) ? `~${path.slice(homedir().length)}` : path;
}

function formatReport({ epalm, platform, machine, readBandwidth: bandwidth, threads, ...report }: Report): string {
  const { ffmpeg } = report;
  const age = typeof ffmpeg !== "string" && ffmpeg.outdated ? ", too old for some formats" : "";
  return formatTable([
    ["epalm", epalm],
    ["Node", machine.node],
    ["ONNX Runtime", machine.onnxruntime],
    ["platform", platform],
    ["processor", `${machine.cpu}, ${machine.cores} cores, ${threads} threads per graph`],
    ["memory", `${formatBytes(machine.memoryBytes)}, read at ${(bandwidth / 1e9).toFixed(1)} GB/s by all cores`],
    ...Object.entries(report.devices).map(([name, { problem, fp16 }]) => [
      `device ${name}`,
      problem === undefined ? `works${fp16 ? "" : ", but not in fp16"}` : `does not work: ${problem}`,
    ]),
    ...Object.entries(report.nodes ?? {}).flatMap(([device, nodes]) =>
      typeof nodes === "string"
        ? [[`model on ${device}`, nodes]]
        : formatNodes(nodes).map(([part, text = ""]) => [`${part} on ${device}`, text]),
    ),
    ["ffmpeg", typeof ffmpeg === "string" ? ffmpeg : `${ffmpeg.version} at ${ffmpeg.path}${age}`],
    ...report.folders.map(({ use, path, freeBytes }) => [use, `${path}, ${formatBytes(freeBytes)} free`]),
  ]);
}
