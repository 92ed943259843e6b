import { quote } from "../../../runtime/fault.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import type { Container } from "../../../kubernetes/pod-spec.ts";

/**
 * The memory of a VM is fixed when it starts: the sum of the limits of the containers that run all the time, and what the
 * runtime class adds for the guest (Contrast, "Pod resources"). Init containers don't count. Nodes are filled by the
 * requests, so these have to be the same; where there is none, Kubernetes takes the limit.
 */
export function memoryFindings({ spec, places }: PreparedPod): Finding[] {
  const initContainers = spec.initContainers ?? [];
  const running = [...initContainers.filter(runsOn), ...spec.containers];
  const limits = running.map((container) => [container.name, limitOf(container)] as const);
  const sum = limits.reduce((total, [, limit = 0]) => total + limit, 0);
  const addends = limits.map(([name, limit]) => `${name} ${limit === undefined ? "?" : shown(limit)}`).join(" + ");
  const hint = `the VM gets the sum of the limits, ${shown(sum)} (${addends}), and what its runtime class adds`;

  const findings = running.flatMap((container): Finding[] => {
    const { name, resources } = container;
    const quantities = [resources?.requests?.memory ?? "0", resources?.limits?.memory ?? "0"];
    const malformed = quantities.find((quantity) => bytes(quantity) === undefined);
    const where = places.of(name, "resources");
    if (malformed !== undefined) {
      return [
        { severity: "error", code: "memory", where, got: quote(String(malformed)), want: "a quantity, like 128Mi" },
      ];
    }
    const [request, limit] = [bytes(resources?.requests?.memory), limitOf(container)];
    if (limit !== undefined && (request === undefined || request === limit)) return [];
    const got =
      limit === undefined
        ? `no memory limit for ${name}`
        : `${name} requests ${shown(request ?? 0)} of memory, its limit is ${shown(limit)}`;
    return [{ severity: "warning", code: "memory", where, got, want: "requests and limits of the same memory", hint }];
  });

  const once = initContainers.filter((container) => !runsOn(container)).map((container) => limitOf(container) ?? 0);
  const needed = once.reduce((total, limit) => total + limit, 0);
  if (needed > sum && limits.every(([, limit]) => limit !== undefined)) {
    findings.push({
      severity: "warning",
      code: "memory",
      where: places.at("containers"),
      got: `memory limits of ${shown(sum)}, and of ${shown(needed)} for the init containers, which don't count`,
      want: `at least ${shown(needed)} for the others together`,
      hint,
    });
  }
  return findings;
}

/** A sidecar of Kubernetes 1.29. */
function runsOn({ restartPolicy }: Container): boolean {
  return restartPolicy === "Always";
}

function limitOf({ resources }: Container): number | undefined {
  return bytes(resources?.limits?.memory);
}

const UNITS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A quantity (k8s.io/apimachinery, resource.Quantity). */
function bytes(quantity: string | number | null | undefined): number | undefined {
  const text = String(quantity ?? "");
  const [, number, unit = ""] = /^(\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([a-zA-Z]*)$/.exec(text) ?? [];
  const factor = unit === "" ? 1 : UNITS[unit];
  return number === undefined || factor === undefined ? undefined : Number(number) * factor;
}

function shown(memory: number): string {
  return `${Number((memory / 2 ** 20).toFixed(1))}Mi`;
}
