import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./commands.ts";
import { LOAD_BALANCERS } from "./layout.ts";

/**
 * What a cloud's controller does: gives every Service of type LoadBalancer an address. kube-proxy does the rest.
 * Arguments: the folder of kubectl, and a kubeconfig.
 */
interface Service {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec: { readonly type: string };
  readonly status: { readonly loadBalancer: { readonly ingress?: readonly { readonly ip: string }[] } };
}

const [bin = "", kubeconfig = ""] = process.argv.slice(2);

async function kubectl(...args: readonly string[]): Promise<string> {
  return run(`${bin}/kubectl`, [`--kubeconfig=${kubeconfig}`, ...args]);
}

async function look(): Promise<void> {
  const { items } = JSON.parse(await kubectl("get", "services", "-A", "-o", "json")) as { items: Service[] };
  const used = new Set(items.flatMap(({ status }) => (status.loadBalancer.ingress ?? []).map(({ ip }) => ip)));
  for (const { metadata, spec, status } of items) {
    if (spec.type !== "LoadBalancer" || status.loadBalancer.ingress !== undefined) continue;
    const ip = Array.from({ length: 200 }, (_, index) => `${LOAD_BALANCERS}.${index + 10}`).find(
      (one) => !used.has(one),
    );
    if (ip === undefined) return;
    used.add(ip);
    const patch = JSON.stringify({ status: { loadBalancer: { ingress: [{ ip }] } } });
    const where = ["-n", metadata.namespace, "patch", "service", metadata.name];
    await kubectl(...where, "--subresource=status", "--type=merge", "-p", patch);
  }
}

for (;;) {
  // The API server may be away for a while.
  await look().catch((error: unknown) => process.stderr.write(`${String(error)}\n`));
  await sleep(1000);
}
