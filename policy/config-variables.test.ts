import { expect, test } from "vitest";
import { type ConfigKind, configValues } from "../kubernetes/config-values.ts";
import { parseResourceFile } from "../kubernetes/resource-file.ts";
import type { Container } from "../kubernetes/pod-spec.ts";
import { environmentOf } from "./environment.ts";
import { withStatedConfig } from "./config-variables.ts";
import { NOTHING_KNOWN } from "./container-entry.ts";

const FILES = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOR: "red $(COLOR) $$", dark.mode: "on"}
binaryData: {BYTES: AAEC}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: other}
data: {COLOR: blue}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: odd}
data: {"1ST": a}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
data: {OLD: cGFzcw==, BOTH: cGFzcw==}
stringData: {BOTH: word}
---
apiVersion: v1
kind: Secret
metadata: {name: bytes}
data: {KEY: //79}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: twice}, data: {A: "1"}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: twice}, data: {A: "1"}}
`;
const BOTH: readonly ConfigKind[] = ["ConfigMap", "Secret"];

/** The entry's variables, without those that every container has. */
function variablesOf(container: Partial<Container>, kinds = BOTH, namespace?: string): object {
  const find = configValues([parseResourceFile("app.yml", FILES)], kinds);
  const stated = withStatedConfig({ name: "web", image: "web", ...container }, (...reference) =>
    find(...reference, namespace),
  );
  const { env, env_from_cluster, optional_env, env_prefixes } = environmentOf(
    stated,
    { runtimeClassName: "", containers: [] },
    NOTHING_KNOWN,
  );
  const { PATH: _, ...fixed } = env;
  const { HOSTNAME: __, ...optional } = optional_env;
  return { fixed, chosen: env_from_cluster, optional, prefixes: env_prefixes };
}

const key = (kind: "configMapKeyRef" | "secretKeyRef", name: string, which: string, optional?: boolean): object => ({
  name: "V",
  valueFrom: { [kind]: { name, key: which, ...(optional !== undefined && { optional }) } },
});
const NONE = { fixed: {}, chosen: {}, optional: {}, prefixes: [] };

test.for([
  ["a key of a ConfigMap", key("configMapKeyRef", "settings", "COLOR"), { fixed: { V: "red $(COLOR) $$" } }],
  ["a key of a Secret", key("secretKeyRef", "password", "OLD"), { fixed: { V: "pass" } }],
  ["stringData over data", key("secretKeyRef", "password", "BOTH"), { fixed: { V: "word" } }],
  ["an optional key that is not there", key("configMapKeyRef", "settings", "NONE", true), {}],
  ["a key that is not there", key("configMapKeyRef", "settings", "NONE"), { chosen: { V: "anything" } }],
  ["bytes, which make no variable", key("configMapKeyRef", "settings", "BYTES"), { chosen: { V: "anything" } }],
  ["a ConfigMap of nobody's", key("configMapKeyRef", "unknown", "A"), { chosen: { V: "anything" } }],
  ["an optional one", key("configMapKeyRef", "unknown", "A", true), { optional: { V: "anything" } }],
  ["one that is described twice", key("configMapKeyRef", "twice", "A"), { chosen: { V: "anything" } }],
  ["a Secret that is no text", key("secretKeyRef", "bytes", "KEY"), { chosen: { V: "anything" } }],
] as const)("pins what the files state: %s", ([, variable, want]) => {
  expect(variablesOf({ env: [variable as never] })).toEqual({ ...NONE, ...want });
});

test("pins all variables of a source, those of env over them", () => {
  const envFrom = [{ prefix: "X_", configMapRef: { name: "settings" } }];
  expect(variablesOf({ envFrom })).toEqual({ ...NONE, fixed: { X_COLOR: "red $(COLOR) $$", "X_dark.mode": "on" } });
  const env = [
    { name: "X_COLOR", value: "green" },
    { name: "ALL", value: "$(X_COLOR) $(X_dark.mode)" },
  ];
  expect(variablesOf({ envFrom, env })).toEqual({
    ...NONE,
    fixed: { X_COLOR: "green", "X_dark.mode": "on", ALL: "green on" },
  });
});

test("leaves a source to the cluster whose variables are not certain", () => {
  const envFrom = [{ configMapRef: { name: "odd" } }, { prefix: "P_", secretRef: { name: "unknown" } }];
  expect(variablesOf({ envFrom })).toEqual({ ...NONE, prefixes: ["", "P_"] });
});

test("takes the ConfigMap of the pod's own namespace", () => {
  const env = [key("configMapKeyRef", "settings", "COLOR") as never];
  expect(variablesOf({ env }, BOTH, "other")).toEqual({ ...NONE, fixed: { V: "blue" } });
  expect(variablesOf({ env }, BOTH, "third")).toEqual({ ...NONE, chosen: { V: "anything" } });
});

test("pins Secrets only where that is asked for, because everybody who gets the policy can read them", () => {
  const env = [key("secretKeyRef", "password", "OLD") as never];
  expect(variablesOf({ env }, ["ConfigMap"])).toEqual({ ...NONE, chosen: { V: "anything" } });
});
