import { EpalmError, unexpected } from "../core/errors.js";
import { type Random, randomStreams } from "../core/random.js";
import { listImages, listLabelledImages } from "../training/data/list-images.js";
import { normalNumber } from "../training/distributions.js";
import type { FedMaeConfig } from "./config.js";

/** A client and its images. */
export interface ClientData {
  readonly name: string;
  readonly images: readonly string[];
}

/**
 * The clients of a config, in its order; those of a divided folder are called `client-1` and so on.
 *
 * @throws invalid_option, invalid_data, not_found
 */
export async function clientsOf({ clients, seed }: FedMaeConfig): Promise<ClientData[]> {
  if (Array.isArray(clients)) {
    expectUnique(clients.map(({ name }) => name));
    return Promise.all(
      clients.map(async ({ name, path }) => {
        if (path !== undefined) return { name, images: await listImages(path) };
        throw unexpected("invalid_option", `clients: ${name}`, "'path', a folder of images", "only a name");
      }),
    );
  }
  const byLabel = await listLabelledImages(clients.path);
  const [random = Math.random] = randomStreams(seed, 1);
  const owned = divide(Array.from(byLabel.values()), clients.count, clients.alpha, random);
  return owned.map((images, index) => {
    if (images.length > 0) return { name: `client-${index + 1}`, images };
    throw new EpalmError(
      "invalid_data",
      `clients: the division of ${clients.path} leaves client-${index + 1} without images: choose fewer clients, a larger alpha or another seed`,
    );
  });
}

/**
 * The names of clients that have their images on machines of their own.
 *
 * @throws invalid_option
 */
export function clientNamesOf({ clients }: FedMaeConfig): string[] {
  if (!Array.isArray(clients)) {
    throw unexpected("invalid_option", "clients", "a list of names, because the images are elsewhere", "a folder");
  }
  const names = clients.map(({ name }) => name);
  expectUnique(names);
  return names;
}

function expectUnique(names: readonly string[]): void {
  if (new Set(names).size < names.length) {
    throw new EpalmError("invalid_option", "clients: expected unique names, got the same name twice");
  }
}

/**
 * Divides the images of each label among clients by shares drawn from Dirichlet(alpha) (Hsu et al. 2019,
 * arXiv 1909.06335). The smaller alpha is, the more the clients differ.
 */
export function divide(
  labels: readonly (readonly string[])[],
  clients: number,
  alpha: number,
  random: Random,
): string[][] {
  const owned = Array.from({ length: clients }, (): string[] => []);
  for (const images of labels) {
    const logs = owned.map(() => logGamma(random, alpha));
    const most = Math.max(...logs);
    const draws = logs.map((log) => Math.exp(log - most));
    const total = draws.reduce((sum, draw) => sum + draw, 0);
    let [share, start] = [0, 0];
    draws.forEach((draw, client) => {
      share += draw / total;
      const end = client === clients - 1 ? images.length : Math.round(share * images.length);
      owned[client]?.push(...images.slice(start, end));
      start = Math.max(start, end);
    });
  }
  return owned;
}

/**
 * The logarithm of a draw from a gamma distribution of scale 1 (Marsaglia and Tsang 2000), with their boost for shapes
 * below 1. It is a logarithm because draws of a small shape often underflow to 0.
 */
function logGamma(random: Random, shape: number): number {
  if (shape < 1) return logGamma(random, shape + 1) + Math.log(1 - random()) / shape;
  const d = shape - 1 / 3;
  for (;;) {
    const x = normalNumber(random);
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v > 0 && Math.log(1 - random()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return Math.log(d * v);
  }
}
