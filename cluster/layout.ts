import { join } from "node:path";

/** Where everything of the cluster is: files, network namespaces, addresses. */

/** Network namespaces: of the node, and of a client outside the cluster, which is the node's only neighbour. */
export const NODE = { namespace: "contrast-node", name: "node1", address: "10.250.0.1" } as const;
export const CLIENT = { namespace: "contrast-client", address: "10.250.0.2" } as const;

export const PODS = "10.244.0.0/24";
export const SERVICES = "10.96.0.0/16";
export const API_SERVICE = "10.96.0.1";
export const DNS_SERVICE = "10.96.0.10";
/** Addresses of Services of type LoadBalancer (RFC 5737, TEST-NET-3). */
export const LOAD_BALANCERS = "203.0.113";

/** Of the node alone, without TLS. */
export const REGISTRY = "localhost:5000";

/** Handlers of runtime classes that `generate` may write; runc stands in for all of them. */
export const RUNTIME_HANDLERS = [
  "runc",
  "contrast-simulated",
  "kata-qemu-snp",
  "kata-qemu-tdx",
  "kata-clh-snp",
] as const;

export interface Layout {
  /** The programs that were built. */
  readonly bin: string;
  /** With all of the following but the sockets. */
  readonly folder: string;
  /** Configuration, keys, process ids. */
  readonly run: string;
  readonly pki: string;
  readonly logs: string;
  /** What the programs keep: etcd, images, volumes. */
  readonly state: string;
  /** containerd's own; a socket's path has to be short. */
  readonly containerd: string;
  readonly cni: string;
  readonly kubeconfig: string;
}

/** Outside `/run`, which is memory; but a socket's path is short, and is for this boot. */
export function layoutOf(bin: string, folder = "/var/lib/contrast-cluster", sockets = "/run/contrast-cluster"): Layout {
  const run = join(folder, "run");
  return {
    bin,
    folder,
    run,
    pki: join(run, "pki"),
    logs: join(folder, "logs"),
    state: join(folder, "state"),
    containerd: sockets,
    cni: join(run, "cni"),
    kubeconfig: join(run, "admin.kubeconfig"),
  };
}
