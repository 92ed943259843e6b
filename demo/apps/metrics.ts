import { createServer, type Server } from "node:http";

/**
 * A counter in the Prometheus text format 0.0.4, with one label.
 *
 * @param counts by the label's value, which is one of the program's own names: it is not escaped
 */
export function counter(name: string, help: string, label: string, counts: ReadonlyMap<string, number>): string {
  const samples = Array.from(counts, ([value, count]) => `${name}{${label}="${value}"} ${count}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} counter\n${samples.join("")}`;
}

/** Answers `GET /metrics` with what `text` gives at that time. */
export function createMetrics(text: () => string): Server {
  return createServer({ requestTimeout: 5000, headersTimeout: 5000 }, (request, response) => {
    if (request.url !== "/metrics") response.writeHead(404).end();
    else if (request.method !== "GET" && request.method !== "HEAD") response.writeHead(405, { allow: "GET" }).end();
    else response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text());
  });
}
