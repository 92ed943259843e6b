import { best, type Measured, text, valueOf } from "./measured.ts";

/** The five rows that README.md and the results have in common, between two marks. */

const BEGIN = "<!-- bench:mesh -->";
const END = "<!-- /bench:mesh -->";

/** @returns what stands between the marks, with them; undefined where there are none */
export function marked(document: string): string | undefined {
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)];
  return from === -1 || to === -1 ? undefined : document.slice(from, to + END.length);
}

export function replaceMarked(document: string, lines: readonly string[]): string {
  const old = marked(document);
  if (old === undefined) throw new Error(`there are no marks ${BEGIN} and ${END}`);
  return document.replace(old, () => lines.join("\n"));
}

/** @returns no lines where not all of it was measured */
export function summary(all: readonly Measured[]): string[] {
  const named = (section: string, begin: string): Measured[] =>
    all.filter(({ of }) => of.section === section && of.name.startsWith(begin));
  const worst = named("bulk", "").toSorted((a, b) => ratio(a) - ratio(b))[0];
  const rows: readonly [string, readonly Measured[], number][] = [
    ["bulk, MB/s: the worst of four cases", worst === undefined ? [] : [worst], 1],
    [
      "new connections per second: resumed / full handshakes",
      [...named("connections", "sessions"), ...named("connections", "full")],
      2,
    ],
    [
      "requests per second: over 32 / 256 connections",
      [...named("requests", "32 connections, as"), ...named("requests", "256")],
      2,
    ],
    ["99th percentile of 3,000 requests per second, ms", named("requests", "32 connections, 3000"), 1],
    ["kB for an idle connection", named("memory", "").slice(-1), 1],
  ];
  if (rows.some(([, measured, count]) => measured.length !== count)) return [];
  const cells = rows.map(([title, measured]) => [
    title,
    measured.map((one) => text(value(one, "mesh-proxy"))).join(" / "),
    measured.map((one) => text(value(one, "Envoy"))).join(" / "),
    measured.map(bestPeer).join(" / "),
    measured.map((one) => ratio(one).toFixed(2)).join(" / "),
  ]);
  const header = ["", "mesh proxy", "Envoy", "best of all others", "ratio to it"];
  return [BEGIN, "", ...aligned([header, ...cells]), "", END];
}

function value(measured: Measured, name: string): number {
  const [figure] = measured.of.figures;
  return figure === undefined ? NaN : valueOf(measured, figure, name);
}

function bestPeer(measured: Measured): string {
  const [figure] = measured.of.figures;
  const peer = figure === undefined ? undefined : best(measured, figure);
  return peer === undefined ? "none" : `${text(peer.value)} (${peer.name})`;
}

function ratio(measured: Measured): number {
  const [figure] = measured.of.figures;
  return figure === undefined ? NaN : value(measured, "mesh-proxy") / (best(measured, figure)?.value ?? NaN);
}

/** As prettier writes a table. */
function aligned([header = [], ...rows]: readonly (readonly string[])[]): string[] {
  const widths = header.map((_, column) => Math.max(3, ...[header, ...rows].map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const padded = (row: readonly string[]): string => line(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)));
  return [padded(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(padded)];
}
