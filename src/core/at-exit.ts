const duties = new Set<() => void>();

process.once("exit", () => {
  for (const duty of duties) duty();
});

/** Has `duty`, which must not throw, done when this process ends. Returns what takes it back. */
export function atExit(duty: () => void): () => void {
  duties.add(duty);
  return () => {
    duties.delete(duty);
  };
}
