import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readEnvironment } from "../../runtime/environment.ts";
import { constraints, variables } from "../configuration.ts";
import { CONNECTION_CODES } from "../connection-faults.ts";
import { HANDSHAKE_BOUNDS } from "../observe/metrics.ts";
import { plansOf } from "../plan.ts";
import { loadAddon } from "./addon.ts";
import { openingOf, RuleNumbers } from "./openings.ts";

/** What Rust and TypeScript have to agree on, read from the sources of both. */

const rust = (file: string): string => readFileSync(join(import.meta.dirname, "../engine", file), "utf8");

test("every code of the engine has words, and no other has", () => {
  const texts = Array.from(rust("core/src/code.rs").matchAll(/^ {4}\w+ "(\w+)",$/gm), ([, text = ""]) => text);
  expect(texts.toSorted()).toEqual([...CONNECTION_CODES, "internal"].toSorted());
});

test("both count handshakes in the same buckets", () => {
  const [, list = ""] = /HANDSHAKE_BOUNDS: \[u64; \d+\] = \[([^\]]*)\]/.exec(rust("core/src/counts.rs")) ?? [];
  const micros = list
    .split(",")
    .map((text) => Number(text.replaceAll("_", "")))
    .filter((bound) => bound > 0);
  expect(micros.map((bound) => bound / 1e6)).toEqual(HANDSHAKE_BOUNDS);
});

test.each(["EngineSettings", "Credentials", "Opening", "RuleCounts", "Used"])(
  "%s has the same fields on both sides",
  (name) => {
    const fields = (text: string, of: RegExp, field: RegExp): string[] => {
      const [, body = ""] = of.exec(text) ?? [];
      return Array.from(body.matchAll(field), ([, found = ""]) => found.replaceAll("_", "").toLowerCase()).toSorted();
    };
    const sources = rust("node/src/lib.rs") + rust("node/src/opening.rs");
    const native = fields(sources, new RegExp(`pub struct ${name} \\{([^}]*)\\}`), /pub (\w+):/g);
    const seam = readFileSync(join(import.meta.dirname, "addon.ts"), "utf8");
    const interfaceName = name.startsWith("Engine") || name === "Opening" ? name : `Engine${name}`;
    const own = fields(
      seam,
      new RegExp(`interface ${interfaceName} \\{\\n([\\s\\S]*?)\\n\\}`),
      /^ {2}readonly (\w+)\??:/gm,
    );
    expect(native.length).toBeGreaterThan(3);
    expect(own).toEqual(native);
  },
);

test("an engine that is not there, or is none, is an error that says what to do", () => {
  const load = (file: string): unknown => {
    try {
      return loadAddon(file);
    } catch (error) {
      return error;
    }
  };
  const hint = expect.stringContaining("npm run build:engine");
  expect(load("/nowhere/engine.node")).toMatchObject({ code: "engine", where: "/nowhere/engine.node", hint });
  const folder = mkdtempSync(join(tmpdir(), "engine-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "engine.node");
  writeFileSync(file, "no library");
  expect(load(file)).toMatchObject({ code: "engine", where: file, hint });
});

test("a plan is told to the engine with the settings of each port", () => {
  const configuration = readEnvironment(
    variables,
    {
      CONTRAST_INGRESS_PROXY_CONFIG: "web#8080#false##open#9000#true",
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: "127.85.4.1",
      CONTRAST_INGRESS_TARGET: "127.85.4.2",
      CONTRAST_INGRESS_PORTS: "5432",
      CONTRAST_INGRESS_ALLOW: "5432=web,spiffe://mesh/job",
      CONTRAST_INGRESS_PROXY_PROTOCOL: "9000",
      CONTRAST_EGRESS_PROXY_CONFIG: "db#127.85.4.3:5432#db-svc:5432#db##cache#127.85.4.3:6379#[::1]:6379",
    },
    constraints,
  );
  const numbers = new RuleNumbers();
  const openings = plansOf(configuration).map((plan) => openingOf(plan, numbers));
  const none = numbers.of("ingress", "(none)");
  const ports = [
    { port: 8080, settings: { rule: numbers.of("ingress", "web"), proxyProtocol: false } },
    { port: 9000, settings: { rule: numbers.of("ingress", "open"), proxyProtocol: true } },
    { port: 5432, settings: { rule: none, allowedSans: ["web", "spiffe://mesh/job"], proxyProtocol: false } },
  ];
  const ingress = { isEgress: false, host: "", ports, otherwise: { rule: none, proxyProtocol: false } };
  const egress = { isEgress: true, tls: "upstream", ports: [] };
  expect(openings).toEqual([
    { ...ingress, address: "127.85.4.1:5432", tls: "mutual", target: "127.85.4.2:5432" },
    { ...ingress, address: "127.85.4.1:8080", tls: "server", target: "127.85.4.2:8080" },
    { ...ingress, address: "127.85.4.1:9000", tls: "none", target: "127.85.4.2:9000" },
    {
      ...egress,
      address: "127.85.4.3:5432",
      host: "db-svc",
      pinnedSan: "db",
      otherwise: { rule: numbers.of("egress", "db"), proxyProtocol: false },
    },
    {
      ...egress,
      address: "127.85.4.3:6379",
      target: "[::1]:6379",
      host: "::1",
      otherwise: { rule: numbers.of("egress", "cache"), proxyProtocol: false },
    },
  ]);
});
