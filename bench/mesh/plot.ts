import { medianOf, type Measured, text } from "./measured.ts";

/**
 * The first figure of every case as bars, one group for each case, drawn by hand: an SVG that takes its colours from
 * whether the reader likes it dark.
 */

const WIDTH = 860;
const LABELS = 250;
const BAR = 14;
const GAP = 34;
const VALUES = 80;

const STYLE = `
  .paper { fill: #ffffff }
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .case { font-weight: 600 }
  .peer { fill: #8c959f }
  .envoy { fill: #bf8700 }
  .own { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 }
    text { fill: #e6edf3 }
    .peer { fill: #6e7681 }
    .envoy { fill: #d29922 }
    .own { fill: #58a6ff }
  }`;

export function plot(all: readonly Measured[]): string {
  const parts: string[] = [];
  let y = GAP;
  for (const measured of all) {
    const [figure] = measured.of.figures;
    if (figure === undefined || ![...measured.results.keys()].some(({ isPeer }) => isPeer)) continue;
    const bars = [...measured.results].map(([{ name, isPeer }, rounds]) => ({
      name,
      isPeer,
      value: medianOf(rounds, figure),
    }));
    const most = Math.max(...bars.map(({ value }) => (Number.isNaN(value) ? 0 : value)));
    const title = `${measured.of.section}, ${measured.of.name}: ${figure.name} (${figure.better} is better)`;
    parts.push(`<text class="case" x="8" y="${y}">${title}</text>`);
    y += 8;
    for (const { name, isPeer, value } of bars) {
      const width = Number.isNaN(value) ? 0 : Math.round(((WIDTH - LABELS - VALUES) * value) / most);
      const kind = isPeer ? (name === "Envoy" ? "envoy" : "peer") : "own";
      parts.push(
        `<text x="${LABELS - 8}" y="${y + BAR - 3}" text-anchor="end">${name}</text>`,
        `<rect class="${kind}" x="${LABELS}" y="${y}" width="${width}" height="${BAR - 2}"/>`,
        `<text x="${LABELS + width + 6}" y="${y + BAR - 3}">${text(value)}</text>`,
      );
      y += BAR;
    }
    y += GAP;
  }
  const box = `viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${box}>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="paper" width="${WIDTH}" height="${y}"/>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}
