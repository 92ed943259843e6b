/** Quantities of resources (k8s.io/apimachinery, pkg/api/resource), exactly: `0.1` is no binary fraction. */

const SUFFIXES: Readonly<Record<string, readonly [base: bigint, exponent: number]>> = {
  n: [10n, -9],
  u: [10n, -6],
  m: [10n, -3],
  "": [10n, 0],
  k: [10n, 3],
  M: [10n, 6],
  G: [10n, 9],
  T: [10n, 12],
  P: [10n, 15],
  E: [10n, 18],
  Ki: [2n, 10],
  Mi: [2n, 20],
  Gi: [2n, 30],
  Ti: [2n, 40],
  Pi: [2n, 50],
  Ei: [2n, 60],
};

/** What Kubernetes keeps; more digits are no quantity of anything. */
const MOST_EXPONENT = 30;

/**
 * @param quantity as YAML has it; a number stands for its decimal digits
 * @returns thousandths, rounded up as `MilliValue` does; undefined: no quantity, or a negative one
 */
export function milliOf(quantity: string | number): number | undefined {
  const match = /^\+?(?<whole>\d*)\.?(?<part>\d*)(?:(?:[eE](?<exponent>[+-]?\d{1,3}))|(?<suffix>[a-zA-Z]*))$/.exec(
    String(quantity),
  );
  const { whole = "", part = "", exponent, suffix = "" } = match?.groups ?? {};
  const unit = SUFFIXES[suffix];
  const power = Number(exponent ?? 0);
  if (whole + part === "" || unit === undefined || Math.abs(power) > MOST_EXPONENT || part.length > MOST_EXPONENT) {
    return undefined;
  }
  const [base, unitPower] = unit;
  let numerator = BigInt(whole + part) * 1000n;
  let denominator = 10n ** BigInt(part.length);
  const scale = (factor: bigint, by: number): void => {
    if (by >= 0) numerator *= factor ** BigInt(by);
    else denominator *= factor ** BigInt(-by);
  };
  scale(10n, power);
  scale(base, unitPower);
  return Number((numerator + denominator - 1n) / denominator);
}

/**
 * A quantity in the unit of its resource: bytes, or CPUs.
 *
 * @returns undefined where it is none; 0 for one that is not there
 */
export function parseQuantity(quantity: string | number | null | undefined): number | undefined {
  const milli = milliOf(quantity ?? 0);
  return milli === undefined ? undefined : milli / 1000;
}
