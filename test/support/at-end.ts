import { after } from "node:test";

const steps: (() => Promise<void> | void)[] = [];

// At the top level of the process's first file: of files that share a process, each is a suite, whose hooks run at its
// end, and inside `before`, Node would run a hook as soon as `before` is done.
after(async () => {
  for (const step of steps) await step();
});

/** Runs `step` after all tests of this process, which may be those of several files. */
export function atEnd(step: () => Promise<void> | void): void {
  steps.push(step);
}
