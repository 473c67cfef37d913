import { EpalmError } from "./errors.js";

/**
 * Imports a package that is not installed with epalm, but by users who need it.
 *
 * @param where what needs the package, for the message
 * @throws invalid_option if it is not installed
 */
export async function optionalPackage<T>(name: string, where: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const advice = `expected the optional package ${name}; run: npm install ${name}`;
    throw new EpalmError("invalid_option", `${where}: ${advice}`, { cause: error });
  }
}
