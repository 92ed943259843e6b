/** What a collateral proxy counts, in the text format of Prometheus (exposition format 0.0.4). */
export class Counters {
  readonly #answers = new Map<string, number>();
  readonly #upstream = new Map<string, number>();

  /** @param outcome `answered`, or the code of a refusal */
  answered(outcome: string): void {
    add(this.#answers, `outcome="${outcome}"`);
  }

  /** @param status 0: no answer */
  upstream(host: string, status: number): void {
    add(this.#upstream, `host="${host}",status="${status}"`);
  }

  print(): string {
    return [
      ...family("contrast_collateral_proxy_requests_total", "Requests for collateral, by outcome.", this.#answers),
      ...family(
        "contrast_collateral_proxy_upstream_requests_total",
        "Requests to vendors, by host and status; 0: no answer.",
        this.#upstream,
      ),
    ].join("\n");
  }
}

/** The labels are codes, hosts and numbers of ours: there are few of them, and nothing in them to escape. */
function add(counts: Map<string, number>, labels: string): void {
  counts.set(labels, (counts.get(labels) ?? 0) + 1);
}

function family(name: string, help: string, counts: ReadonlyMap<string, number>): string[] {
  const lines = [...counts].map(([labels, count]) => `${name}{${labels}} ${count}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} counter`, ...lines];
}
