import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, chownSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { descendantsOf } from "./running-processes.js";
import { until } from "./tiny-clients.js";

export const FLOWER_APP = resolve("deploy", "flower");
const main = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
export const EPALM = `${process.execPath} ${main}`;

/** The folder of the commands of a virtual environment with the app's packages, or the reason why there is none. */
export function installFlower(): { readonly bin: string } | { readonly missing: string } {
  const [, list = ""] =
    /^dependencies = \[(.*)\]$/m.exec(readFileSync(join(FLOWER_APP, "pyproject.toml"), "utf8")) ?? [];
  const packages = Array.from(list.matchAll(/"([^"]+)"/g), ([, name = ""]) => name);
  const hash = createHash("sha256").update(packages.join()).digest("hex").slice(0, 12);
  const folder = resolve("node_modules", ".cache", `epalm-flower-${hash}`);
  const bin = join(folder, "bin");
  const complete = join(folder, "complete");
  if (existsSync(complete)) return { bin };
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(dirname(folder), { recursive: true });
  // That of the system comes first because a Python in a home folder cannot be run by other users.
  const made = ["/usr/bin/python3", "python3"].some((python) => {
    return spawnSync(python, ["-m", "venv", "--clear", folder]).status === 0;
  });
  if (!made) return { missing: "no Python with venv: install python3-venv" };
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...packages];
  const installed = spawnSync(join(bin, "python"), pip, { encoding: "utf8" });
  if (installed.status !== 0) {
    const [reason] = installed.stderr.trim().split("\n").slice(-1);
    return { missing: `${packages.join(" and ")} cannot be installed from PyPI: ${reason}` };
  }
  writeFileSync(complete, "");
  return { bin };
}

/** Why processes cannot run as users of their own, or undefined. */
function lacksUsers(bin: string): string | undefined {
  if (process.getuid?.() !== 0) return "not root: all processes belong to the same user";
  const programs = [[process.execPath, main], [join(bin, "flwr")], [join(bin, "python")]];
  const canRun = programs.every(
    (program) => spawnSync("setpriv", [...asUser(FIRST_USER), ...program, "--version"], { cwd: "/" }).status === 0,
  );
  return canRun ? undefined : "other users cannot run epalm or Flower: setpriv is missing, or this folder is private";
}

/** Users need not exist to own files and processes. */
const FIRST_USER = 47_100;

function asUser(user: number): string[] {
  return [`--reuid=${user}`, `--regid=${user}`, "--clear-groups", "--pdeathsig=KILL"];
}

/** A TCP connection to the SuperLink that can be cut, and whose bytes are counted. */
class Line {
  readonly bytes = { up: 0, down: 0 };
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  private constructor(
    readonly port: number,
    target: number,
  ) {
    this.#server = createServer((near) => this.#join(near, connect(target, "127.0.0.1")));
    this.#server.unref();
  }

  static async to(target: number): Promise<Line> {
    const line = new Line(await freePort(), target);
    await line.mend();
    return line;
  }

  #join(near: Socket, far: Socket): void {
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        near.destroy();
        far.destroy();
        this.#sockets.delete(socket);
      });
    }
    near.on("data", ({ length }) => {
      this.bytes.up += length;
    });
    far.on("data", ({ length }) => {
      this.bytes.down += length;
    });
    near.pipe(far).pipe(near);
  }

  /** Ends all connections and refuses new ones. */
  cut(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async mend(): Promise<void> {
    if (this.#server.listening) return;
    await new Promise<void>((listening) => this.#server.listen(this.port, "127.0.0.1", listening));
  }
}

/** A SuperNode, its connection, and what it has written. */
export interface SuperNode {
  readonly process: ChildProcess;
  /** Starts it again after it was killed. */
  start(): void;
  readonly line: Line;
  readonly images: string;
  readonly user: number | undefined;
  log(): string;
}

/** A SuperLink with TLS and node keys, and its SuperNodes, as processes on this machine. */
export class FlowerNetwork {
  readonly #children: ChildProcess[] = [];
  readonly #lines: Line[] = [];
  readonly #kill = () => this.close();
  #superLink: ChildProcess | undefined;
  #users = FIRST_USER;
  /** Why all processes belong to one user, or undefined. */
  readonly lacksUsers: string | undefined;
  /** The user of the SuperLink and of the ServerApp. */
  readonly serverUser: number | undefined;

  private constructor(
    readonly folder: string,
    private readonly bin: string,
    readonly port: number,
  ) {
    process.once("exit", this.#kill);
    // Without a listener, these signals end the process without the event `exit`.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
    this.lacksUsers = lacksUsers(bin);
    this.serverUser = this.#newUser();
  }

  /** @param folder exists and can be entered by all users */
  static async start(folder: string, bin: string): Promise<FlowerNetwork> {
    const network = new FlowerNetwork(folder, bin, await freePort());
    network.#makeCertificates();
    network.#folderOf("server", network.serverUser);
    mkdirSync(join(folder, "cli"));
    const connection = { address: `127.0.0.1:${network.port}`, "root-certificates": join(folder, "ca.crt") };
    const lines = Object.entries(connection).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    writeFileSync(join(folder, "cli", "config.toml"), ["[superlink.test]", ...lines, ""].join("\n"));
    await network.startSuperLink();
    return network;
  }

  #newUser(): number | undefined {
    return this.lacksUsers === undefined ? this.#users++ : undefined;
  }

  #folderOf(name: string, user: number | undefined): string {
    const folder = join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o700);
    if (user !== undefined) chownSync(folder, user, user);
    return folder;
  }

  #makeCertificates(): void {
    const at = (name: string) => join(this.folder, name);
    const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "ignore" });
    const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl("req", "-x509", ...newKey, "-keyout", at("ca.key"), "-out", at("ca.crt"), "-subj", "/CN=epalm test");
    openssl("req", ...newKey, "-keyout", at("server.key"), "-out", at("server.csr"), "-subj", "/CN=localhost");
    writeFileSync(at("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    const authority = ["-CA", at("ca.crt"), "-CAkey", at("ca.key"), "-CAcreateserial", "-extfile", at("names")];
    openssl("x509", "-req", "-in", at("server.csr"), ...authority, "-out", at("server.crt"));
    if (this.serverUser !== undefined) chownSync(at("server.key"), this.serverUser, this.serverUser);
  }

  #spawn(name: string, user: number | undefined, command: readonly string[], env: Readonly<Record<string, string>>) {
    const home = this.#folderOf(name, user);
    const log = openSync(join(this.folder, `${name}.log`), "a");
    const [program = "", ...args] = user === undefined ? command : ["setpriv", ...asUser(user), ...command];
    const child = spawn(program, args, {
      cwd: home,
      stdio: ["ignore", log, log],
      env: { ...process.env, ...this.#environment(home), EPALM, ...env },
    });
    this.#children.push(child);
    return child;
  }

  #environment(home: string): Record<string, string> {
    const path = `${this.bin}:${process.env.PATH}`;
    const quiet = { FLWR_TELEMETRY_ENABLED: "0", FLWR_DISABLE_UPDATE_CHECK: "1" };
    return { PATH: path, HOME: home, FLWR_HOME: home, ...quiet };
  }

  /** Starts the SuperLink with the state of the last one. */
  async startSuperLink(): Promise<void> {
    const at = (name: string) => join(this.folder, name);
    const tls = [
      "--ssl-certfile",
      at("server.crt"),
      "--ssl-keyfile",
      at("server.key"),
      "--ssl-ca-certfile",
      at("ca.crt"),
    ];
    const state = ["--database", join(this.folder, "server", "state.db"), "--port", String(this.port)];
    const options = ["--enable-supernode-auth", "--disable-runtime-dependency-installation"];
    const command = [join(this.bin, "flower-superlink"), ...tls, ...state, ...options];
    const known = existsSync(at("server.log")) ? this.logOf("server").length : 0;
    this.#superLink = this.#spawn("server", this.serverUser, command, {});
    await until(() => /Application startup complete/.test(this.logOf("server").slice(known)), 60).catch(() => {
      throw new RangeError(`the SuperLink did not start:\n${this.logOf("server")}`);
    });
    for (const line of this.#lines) await line.mend();
  }

  /** Ends the SuperLink as a crash does. */
  async killSuperLink(): Promise<void> {
    // Otherwise, connections would be accepted and closed at once.
    for (const line of this.#lines) line.cut();
    await killed(this.#superLink);
  }

  /** Creates the key of a SuperNode, and registers it unless it is to be refused. */
  #keyOf(name: string, user: number | undefined, isRegistered: boolean): string {
    const key = join(this.#folderOf(name, user), "key");
    execFileSync("ssh-keygen", ["-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", key]);
    if (isRegistered) this.flwr("supernode", "register", `${key}.pub`, "test", "--name", name);
    if (user !== undefined) chownSync(key, user, user);
    return key;
  }

  /** Starts a SuperNode whose folder of images only its user can read. `draw` fills the folder. */
  async startSuperNode(
    name: string,
    draw: (images: string) => Promise<void>,
    { isRegistered = true, env = {} } = {},
  ): Promise<SuperNode> {
    const user = this.#newUser();
    const key = this.#keyOf(name, user, isRegistered);
    const images = join(this.folder, `images of ${name}`);
    await draw(images);
    this.#folderOf(`images of ${name}`, user);
    const line = await Line.to(this.port);
    this.#lines.push(line);
    const command = [
      ...[join(this.bin, "flower-supernode"), "--superlink", `127.0.0.1:${line.port}`],
      ...["--root-certificates", join(this.folder, "ca.crt"), "--auth-supernode-private-key", key],
      ...["--node-config", `images=${JSON.stringify(images)}`, "--port", String(await freePort())],
    ];
    const launch = (): ChildProcess => {
      const child = this.#spawn(name, user, command, env);
      child.once("exit", (code) => {
        // As systemd would; a SuperNode ends if a TLS handshake takes too long on a busy machine.
        if (code !== null && isRegistered) current = launch();
      });
      return child;
    };
    let current = launch();
    return {
      get process() {
        return current;
      },
      start() {
        current = launch();
      },
      line,
      images,
      user,
      log: () => this.logOf(name),
    };
  }

  logOf(name: string): string {
    return readFileSync(join(this.folder, `${name}.log`), "utf8");
  }

  /** Runs a command of Flower's client for operators; returns the JSON that it prints. */
  flwr(...args: string[]): Record<string, unknown> {
    const output = execFileSync(join(this.bin, "flwr"), [...args, "--format", "json"], {
      encoding: "utf8",
      env: { ...process.env, ...this.#environment(join(this.folder, "cli")) },
    });
    return JSON.parse(output.slice(output.indexOf("{")));
  }

  get #config(): string {
    return join(this.folder, "server", "clients.json");
  }

  /** Replaces the config of a run that is going on; epalm reads it for every step. */
  configure(config: unknown): void {
    writeFileSync(this.#config, JSON.stringify(config));
  }

  /** Starts a run of the app with a config of `epalm fedmae`. */
  run(config: unknown, options: Readonly<Record<string, string | number>> = {}): void {
    this.configure(config);
    const settings = Object.entries({ ...options, config: this.#config });
    const text = settings.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(" ");
    this.flwr("run", FLOWER_APP, "test", "--run-config", text);
  }

  /** Whether a user can list a folder. */
  canRead(user: number | undefined, folder: string): boolean {
    if (user === undefined) return true;
    return spawnSync("setpriv", [...asUser(user), "ls", folder]).status === 0;
  }

  /** Ends all processes. */
  close(): void {
    process.off("exit", this.#kill);
    for (const { pid } of this.#children) {
      if (pid !== undefined) killTree(pid);
    }
  }
}

function killTree(pid: number): void {
  for (const id of [pid, ...descendantsOf(pid)]) {
    try {
      process.kill(id, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }
}

/** Ends a process and all that it has started, as the power switch does. */
export async function killed(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  killTree(child.pid);
  await ended;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  await new Promise((closed) => server.close(closed));
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}
