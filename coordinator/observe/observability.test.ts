import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { Metrics } from "./metrics.ts";

/** docs/observability.md, the dashboard and the alerts name what there is, all of it and nothing else. */

const root = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const doc = read("docs/observability.md");

/** By name, with the labels. */
const registered = new Map<string, readonly string[]>();
const histograms = new Set<string>();
beforeAll(async () => {
  const active = (): never => {
    throw new Error("nothing is in force");
  };
  const { registry } = new Metrics({ phase: "empty", active }, () => new Date(0));
  for (const { name, type } of await registry.getMetricsAsJSON()) {
    const { labelNames } = registry.getSingleMetric(name) as unknown as { labelNames: readonly string[] };
    registered.set(name, labelNames);
    if (String(type) === "histogram") histograms.add(name);
  }
});

const METRIC = /\b(?:contrast|process|nodejs)_[a-z0-9_]+/g;
const section = (from: string, to: string): string => doc.slice(doc.indexOf(`\n${from}\n`), doc.indexOf(`\n${to}\n`));
const cells = (row: string): string[] => row.split("|").slice(1, -1);
const quoted = (text: string): string[] => Array.from(text.matchAll(/`([^`]+)`/g), ([, name = ""]) => name);

test("the document lists every metric with its labels, and no other", () => {
  const documented = new Map<string, readonly string[]>();
  for (const row of section("## Metrics", "## Dashboard and alerts").split("\n")) {
    const [names = "", ...others] = cells(row);
    // Of the longer table the second column is the type.
    const labels = (others.length > 1 ? others[1] : others[0]) ?? "";
    const isLabel = (name: string): boolean => [...registered.values()].flat().includes(name);
    for (const name of quoted(names)) documented.set(name, quoted(labels).filter(isLabel));
  }
  expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(registered));
});

/** Events and their fields from the source: types are gone when it runs. */
function declaredEvents(): string[] {
  return Array.from(
    read("coordinator/observe/audit-events.ts").matchAll(/readonly event: "(\w+)"/g),
    ([, name = ""]) => name,
  );
}

function examples(): Record<string, unknown>[] {
  return section("## Audit log", "## Metrics")
    .split("\n")
    .filter((line) => line.startsWith('{ "audit"'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("the document shows every event of the audit log once, and no other", () => {
  const shown = examples().map(({ event }) => String(event));
  expect(shown.sort()).toEqual(declaredEvents().sort());
});

test("the document explains every field of the audit log, and no other", () => {
  const table = section("## Audit log", "## Metrics")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  const explained = table.flatMap((row) => quoted(cells(row)[0] ?? "")).filter((name) => /^[a-z]+$/.test(name));
  const declared = Array.from(
    read("coordinator/observe/audit-events.ts").matchAll(/readonly (\w+)\??:/g),
    ([, name = ""]) => name,
  );
  const common = ["stdout", "off"];
  expect(new Set(explained)).toEqual(new Set([...declared.filter((name) => name !== "event"), ...common]));
  const shown = new Set(examples().flatMap((example) => Object.keys(example)));
  expect(shown).toEqual(new Set([...declared, "audit", "time"]));
});

/** The metrics of an expression, histograms by their own name. */
function metricsOf(expression: string): string[] {
  return (expression.match(METRIC) ?? []).map((name) => {
    const histogram = name.replace(/_(?:bucket|sum|count)$/, "");
    return histograms.has(histogram) ? histogram : name;
  });
}

interface Dashboard {
  readonly schemaVersion: number;
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly definition?: string }[];
  };
  readonly annotations: { readonly list: readonly { readonly expr?: string }[] };
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly datasource: { readonly uid: string };
    readonly targets: readonly { readonly expr: string }[];
  }[];
}

/** The names of the mesh proxy's metrics, from its document; a test of its own compares that with what there is. */
function meshMetrics(): string[] {
  const rows = Array.from(read("docs/mesh-proxy.md").matchAll(/^\| `((?:contrast_mesh|process)_\w+)` +\| (\w+)/gm));
  for (const [, name = "", type] of rows) if (type === "histogram") histograms.add(name);
  return rows.map(([, name = ""]) => name);
}

test.each([
  ["coordinator", () => [...registered.keys()]],
  ["mesh-proxy", meshMetrics],
])(
  "the dashboard of the %s asks for metrics that there are, of the chosen data source, side by side",
  (program, metrics) => {
    const dashboard = JSON.parse(read(`deploy/grafana/contrast-${program}.json`)) as Dashboard;
    const exposed = metrics();
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(41);
    expect(dashboard.templating.list).toContainEqual(
      expect.objectContaining({ name: "datasource", type: "datasource" }),
    );
    const expressions = [
      ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
      ...dashboard.annotations.list.flatMap(({ expr }) => expr ?? []),
      ...dashboard.templating.list.flatMap(({ definition }) => definition ?? []),
    ];
    const asked = new Set(expressions.flatMap(metricsOf));
    for (const name of asked) expect(exposed).toContain(name);
    const ours = exposed.filter((name) => name.startsWith("contrast_"));
    expect(ours.filter((name) => !asked.has(name))).toEqual([]);
    for (const { datasource } of dashboard.panels) expect(datasource.uid).toBe("${datasource}");
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const taken = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, cell) => `${x + (cell % w)},${y + Math.floor(cell / w)}`),
    );
    expect(new Set(taken).size).toBe(taken.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.x + gridPos.w))).toBe(24);
  },
);

interface Rules {
  readonly groups: readonly {
    readonly name: string;
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly for?: string;
      readonly labels: { readonly severity: string };
      readonly annotations: { readonly summary: string; readonly description: string };
    }[];
  }[];
}

test("the alerts are rules of Prometheus about metrics that there are, and the document explains each", () => {
  const { groups } = parse(read("deploy/prometheus/alerts.yml")) as Rules;
  const rules = groups.flatMap((group) => group.rules);
  const documented = Array.from(doc.matchAll(/^\| `(Contrast\w+)`/gm), ([, name = ""]) => name);
  expect(rules.map(({ alert }) => alert).sort()).toEqual(documented.sort());
  for (const rule of rules) {
    const keys = ["alert", "expr", "for", "labels", "annotations"];
    expect(keys).toEqual(expect.arrayContaining(Object.keys(rule)));
    expect(["warning", "critical"]).toContain(rule.labels.severity);
    expect(rule.for ?? "1m").toMatch(/^\d+[smh]$/);
    expect(rule.annotations).toEqual({
      summary: expect.any(String) as string,
      description: expect.any(String) as string,
    });
    expect(rule.expr.match(/\(/g)?.length).toBe(rule.expr.match(/\)/g)?.length);
    for (const name of metricsOf(rule.expr)) expect([...registered.keys(), ...meshMetrics()]).toContain(name);
  }
});
