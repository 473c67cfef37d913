// Root file systems without a container engine: Debian from debootstrap, with Node and npm, and processes inside
// them.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { installNode } from "./install-node.js";

/** The versions in images of node:24. */
const NODE_VERSION = "24";
const NPM_VERSION = "11";
const DEVICES = ["null", "zero", "random", "urandom"];

/**
 * Approximates `node:24-bookworm-slim`: Debian's minimal base, Node and npm in the versions of that image, and a user
 * `node` with id 1000.
 */
export function makeBase(root) {
  run("debootstrap", ["--variant=minbase", "--include=libstdc++6", "bookworm", root]);
  cpSync(installNode(NODE_VERSION, join(root, "tmp/node")), join(root, "usr/local/bin/node"));
  const modules = join(root, "usr/local/lib/node_modules");
  mkdirSync(modules, { recursive: true });
  run("npm", ["install", "--prefix", join(root, "usr/local/lib"), "--no-save", `npm@${NPM_VERSION}`]);
  for (const name of ["npm", "npx"]) {
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, "usr/local/bin", name));
  }
  run("chroot", [root, "useradd", "--uid", "1000", "--create-home", "node"]);
  copyNetworkSettings(root);
}

/** Copies this machine's name resolution and trusted certificates, which images get from their engine. */
function copyNetworkSettings(root) {
  cpSync("/etc/resolv.conf", join(root, "etc/resolv.conf"), { dereference: true });
  const certificates = process.env.NODE_EXTRA_CA_CERTS;
  if (certificates && existsSync(certificates)) {
    cpSync(realpathSync(certificates), join(root, "etc/build-certificates.pem"));
  }
}

/** Runs a shell command in a root file system as user 0, like RUN. Throws its output if it fails. */
export function runInRoot(root, folder, line, environment) {
  const certificates = { NODE_EXTRA_CA_CERTS: "/etc/build-certificates.pem" };
  const mounts = deviceMounts(root);
  const inside = `cd ${quote(folder)} && ${line}`;
  const script = `${mounts} && exec chroot ${quote(root)} /bin/sh -c ${quote(inside)}`;
  run("unshare", ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script], {
    env: { PATH: environment.PATH, HOME: "/root", ...certificates, ...environment },
  });
}

/**
 * Starts a command as process 1 of its own namespace, as a user without capabilities. The root file system is
 * read-only, `/tmp` is in memory, and the folders of this machine that `binds` lists are mounted read-only.
 */
export function startInRoot(root, { folder, user, environment, binds, command }) {
  const [uid, gid = uid] = user.split(":");
  const mounts = [
    `mount --bind ${quote(root)} ${quote(root)}`,
    ...Object.entries(binds).map(([inside, outside]) => {
      const place = quote(join(root, inside));
      return `mount --bind ${quote(outside)} ${place} && mount -o remount,ro,bind ${place}`;
    }),
    `mount -o remount,ro,bind ${quote(root)}`,
    `mount -t tmpfs -o size=320m tmpfs ${quote(join(root, "tmp"))}`,
    deviceMounts(root),
  ].join(" && ");
  const enter = `exec chroot ${quote(root)} ${unprivileged(uid, gid)} sh -c 'cd "$0" && exec "$@"' ${quote(folder)}`;
  const script = `${mounts} && ${enter} ${command.map(quote).join(" ")}`;
  return spawn("unshare", ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script], {
    env: environment,
  });
}

/**
 * Runs a command in the namespaces and as the user of a process that `startInRoot` started. Returns exit code and
 * output.
 */
export function runBeside(child, { user, environment, command }) {
  const [uid, gid = uid] = user.split(":");
  const pid = String(innerProcess(child));
  const inside = [...unprivileged(uid, gid).split(" "), ...command];
  const result = spawnSync("nsenter", ["--target", pid, "--mount", "--pid", "--root", "--wd", ...inside], {
    env: environment,
    encoding: "utf8",
  });
  return { code: result.status, output: `${result.stdout}${result.stderr}` };
}

/** The id on this machine of the process that has id 1 inside. */
export function innerProcess(child) {
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim();
  if (!/^\d+$/.test(children)) throw new TypeError(`expected one process inside, got '${children}'`);
  return Number(children);
}

function unprivileged(uid, gid) {
  return `setpriv --reuid=${uid} --regid=${gid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all`;
}

function deviceMounts(root) {
  const inside = (path) => quote(join(root, path));
  const devices = DEVICES.map((name) => `mount --bind /dev/${name} ${inside(`dev/${name}`)}`);
  return [...devices, `mount -t proc proc ${inside("proc")}`].join(" && ");
}

/** Copies a tree with `cp`, preserving owners, modes and links. */
export function copyTree(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  run("cp", ["--archive", "--no-target-directory", from, to]);
}

/** Size on disk in bytes of all files under a folder. */
export function diskBytes(path) {
  return Number(run("du", ["--summarize", "--block-size=1", path]).split("\t")[0]);
}

export function run(program, args, options = {}) {
  const result = spawnSync(program, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024, ...options });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    throw new TypeError(`${program} exited with ${result.status ?? result.signal}:\n${result.stdout}${result.stderr}`);
  }
  return result.stdout;
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
