import type { HandlerTables } from "./containerd-config.ts";

/** The handlers that are given to containerd. */

/** What containerd says of the handler `runc` that it has: options of its cgroups. */
export type RuncOptions = Readonly<Record<string, unknown>>;

/** runc under another name, with the options that runc has on this node: the kubelet's way with cgroups has to fit. */
export function runcHandler(handler: string, options: RuncOptions): HandlerTables {
  const lines = Object.entries(options).flatMap(([key, value]) =>
    typeof value === "string" || typeof value === "boolean" || typeof value === "number"
      ? [`${key} = ${JSON.stringify(value)}`]
      : [],
  );
  return (plugin) => {
    const table = `plugins."${plugin}".containerd.runtimes.${handler}`;
    return [`[${table}]`, `runtime_type = "io.containerd.runc.v2"`, `[${table}.options]`, ...lines].join("\n");
  };
}

/**
 * A shim of Kata's with a configuration of its own (kata-containers, tools/packaging/kata-deploy).
 *
 * @param shim path of its binary on the node
 * @param configuration path of its configuration on the node
 */
export function kataHandler(handler: string, shim: string, configuration: string): HandlerTables {
  return (plugin) => {
    const table = `plugins."${plugin}".containerd.runtimes.${handler}`;
    return `[${table}]
runtime_type = "io.containerd.${handler}.v2"
runtime_path = "${shim}"
privileged_without_host_devices = true
pod_annotations = ["io.katacontainers.*"]
container_annotations = ["io.kubernetes.container.terminationMessage*"]
[${table}.options]
ConfigPath = "${configuration}"`;
  };
}
