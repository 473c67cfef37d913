import type { Command } from "commander";
import type { DoctorFlags } from "../actions/doctor.js";
import type { CliContext } from "../context.js";
import { styleHeadings } from "../output/colours.js";

const examples = `
The report contains no names of users and no contents of files. Please add it to bug reports.

Examples:
  epalm doctor
  epalm doctor -m my-model
  epalm doctor --json | jq .devices`;

/** `epalm doctor` reports what a bug report needs. */
export function addDoctorCommand(program: Command, context: CliContext): void {
  program
    .command("doctor")
    .summary("report what a bug report needs")
    .description("Reports the versions, devices and folders that epalm uses on this machine.")
    .option("-m, --model <dir>", "also report which operators of this model folder each device leaves to the CPU")
    .option("--json", "print one JSON object")
    .addHelpText("after", styleHeadings(examples))
    .action(async (flags: DoctorFlags) => (await import("../actions/doctor.js")).doctor(flags, context));
}
