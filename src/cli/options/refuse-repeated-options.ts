import type { Command } from "commander";

/**
 * Makes a command and its subcommands reject an option with a value that is given twice, of which commander would
 * silently keep the last one. Options that collect their values, and flags without a value, may be repeated.
 */
export function refuseRepeatedOptions(command: Command): void {
  for (const option of command.options) {
    if (!option.required && !option.optional) continue;
    let count = 0;
    command.on(`option:${option.name()}`, () => {
      count++;
      // Runs after the value has been stored, as a list if the option collects its values.
      if (count === 1 || Array.isArray(command.getOptionValue(option.attributeName()))) return;
      command.error(`error: option '${option.flags}' can be given only once`);
    });
  }
  for (const subcommand of command.commands) refuseRepeatedOptions(subcommand);
}
