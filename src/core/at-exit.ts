const duties = new Set<() => void>();

process.once("exit", () => {
  for (const duty of duties) duty();
});

/** Runs `duty`, which must not throw, when this process ends. Returns a function that cancels it. */
export function atExit(duty: () => void): () => void {
  duties.add(duty);
  return () => {
    duties.delete(duty);
  };
}
