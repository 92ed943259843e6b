/**
 * How long to wait before the next try: doubling from `first` to `most`, half of it fixed and half of it random, so that
 * many who failed together don't come back together.
 *
 * @param failures in a row so far, from 1
 * @param random of 0 to 1
 * @returns milliseconds
 */
export function backoff(failures: number, random: number, first = 500, most = 30_000): number {
  const ceiling = Math.min(most, first * 2 ** Math.min(failures - 1, 32));
  return ceiling / 2 + (ceiling / 2) * random;
}
