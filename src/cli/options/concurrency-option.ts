import { Option } from "commander";
import { integer } from "./option-values.js";

/** More requests than one batch of the decoder takes. */
const MAX_CONCURRENCY = 1024;

/** @param description what is in progress at the same time, and the default */
export function concurrencyOption(description: string): Option {
  return new Option("--concurrency <n>", description).argParser(integer(1, MAX_CONCURRENCY));
}
