import { quote } from "../../../runtime/fault.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { isSidecar, limitOf, podLimit } from "../../../kubernetes/pod-limits.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";
import { parseQuantity } from "../../../kubernetes/quantity.ts";

/**
 * The memory of a VM is fixed when it starts: the limit of the pod, and what the runtime class adds for the guest. Nodes are
 * filled by the requests, so these have to be the same; where there is none, Kubernetes takes the limit. An init container
 * without a limit may have what the others need later.
 */
export function memoryFindings({ spec, places }: PreparedPod): Finding[] {
  const { amount, containers = [] } = podLimit(spec, "memory");
  const addends = containers.map((container) => `${container.name} ${shown(limitOf(container, "memory"))}`);
  const sum = addends.length > 1 ? `, ${addends.join(" + ")}` : "";
  const hint = `the VM gets ${shown(amount)}${sum}, and what its runtime class adds; images that it pulls and unpacks fill it, too`;
  const once = new Set((spec.initContainers ?? []).filter((container) => !isSidecar(container)));
  const isWhole = (spec.resources?.limits?.memory ?? undefined) !== undefined;

  return allContainers(spec).flatMap((container): Finding[] => {
    const { name, resources } = container;
    const quantities = [resources?.requests?.memory, resources?.limits?.memory];
    const malformed = quantities.find((quantity) => parseQuantity(quantity) === undefined);
    if (malformed !== undefined) {
      const [where, got] = [places.of(name, "resources"), quote(String(malformed))];
      return [{ severity: "error", code: "memory", where, got, want: "a quantity, like 128Mi" }];
    }
    const limit = limitOf(container, "memory");
    const stated = resources?.requests?.memory ?? undefined;
    const request = stated === undefined ? limit : parseQuantity(stated);
    if (limit === undefined ? once.has(container) || isWhole : request === limit) return [];
    const got =
      limit === undefined
        ? `no memory limit for ${name}`
        : `${name} requests ${shown(request)} of memory, its limit is ${shown(limit)}`;
    const where = places.of(name, "resources");
    return [{ severity: "warning", code: "memory", where, got, want: "requests and limits of the same memory", hint }];
  });
}

function shown(memory: number | undefined): string {
  return memory === undefined ? "?" : `${Number((memory / 2 ** 20).toFixed(1))}Mi`;
}
