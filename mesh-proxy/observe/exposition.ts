/**
 * Prometheus' text format, version 0.0.4. prom-client in its place costs a sidecar 18 MB and 50 ms of its start
 * (docs/decisions/0001-libraries.md).
 */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
  /** Of a histogram: what follows the name of the family. */
  readonly suffix?: "_bucket" | "_sum" | "_count";
}

/** All samples of one name. */
export interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

export function expose(families: readonly Family[]): string {
  return families
    .map(({ name, type, help, samples }) =>
      [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map((sample) => line(name, sample)), ""].join(
        "\n",
      ),
    )
    .join("");
}

function line(name: string, { labels = {}, value, suffix }: Sample): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escape(text)}"`);
  return `${name}${suffix ?? ""}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value === Infinity ? "+Inf" : value}`;
}

/** Rules have names of anybody's choice. */
function escape(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** @param bounds of the buckets, ascending; one without a bound comes after them */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const index = this.#bounds.findIndex((bound) => value <= bound);
    const bucket = index < 0 ? this.#bounds.length : index;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  samples(labels: Labels): Sample[] {
    return bucketSamples(labels, this.#bounds, this.#counts, this.#sum);
  }
}

/** @param counts of each bucket by itself; the last one has no bound */
export function bucketSamples(
  labels: Labels,
  bounds: readonly number[],
  counts: readonly number[],
  sum: number,
): Sample[] {
  let sofar = 0;
  const buckets = counts.map((count, index): Sample => {
    const le = String(bounds[index] ?? "+Inf");
    return { labels: { ...labels, le }, value: (sofar += count), suffix: "_bucket" };
  });
  return [...buckets, { labels, value: sum, suffix: "_sum" }, { labels, value: sofar, suffix: "_count" }];
}
