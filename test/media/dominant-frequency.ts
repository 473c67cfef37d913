/** The strongest frequency from 50 Hz to 4 kHz, in steps of 10 Hz (Goertzel's algorithm). */
export function dominantFrequency(samples: Float32Array, sampleRate: number): number {
  const frequencies = Array.from({ length: 396 }, (_, index) => 50 + index * 10);
  const powers = frequencies.map((frequency) => powerAt(samples, frequency / sampleRate));
  return frequencies[powers.indexOf(Math.max(...powers))] ?? 0;
}

/** @param turns periods of the wave per sample */
function powerAt(samples: Float32Array, turns: number): number {
  const factor = 2 * Math.cos(2 * Math.PI * turns);
  let [before, last] = [0, 0];
  for (const sample of samples) [before, last] = [last, sample + factor * last - before];
  return before * before + last * last - factor * before * last;
}
