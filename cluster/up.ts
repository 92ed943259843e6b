import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCertificates } from "./certificates.ts";
import { apply, kubectl, onNode, run, waitFor } from "./commands.ts";
import * as configuration from "./configuration.ts";
import { pushPause } from "./images.ts";
import { DNS_SERVICE, type Layout, NODE, REGISTRY } from "./layout.ts";
import { hasNetwork, makeNetwork } from "./network.ts";
import { start } from "./processes.ts";
import { DNS, STORAGE_CLASS, volume } from "./resources.ts";

/** Each is for one claim: nothing takes one back. */
const VOLUMES = Array.from({ length: 40 }, (_, index) => index + 1);

/** What the kubelet sets, for the whole machine. */
const SYSCTLS = [
  "vm.overcommit_memory",
  "vm.panic_on_oom",
  "kernel.panic",
  "kernel.panic_on_oops",
  "kernel.keys.root_maxkeys",
  "kernel.keys.root_maxbytes",
];

/**
 * Starts a cluster of one node: etcd, the control plane, containerd, kubelet, kube-proxy, CoreDNS, a registry. What runs
 * already is left alone.
 *
 * @param tell is told each step
 */
export async function up(layout: Layout, tell: (line: string) => void): Promise<void> {
  for (const folder of [layout.run, layout.pki, layout.logs, layout.state, layout.containerd, layout.cni]) {
    mkdirSync(folder, { recursive: true });
  }
  if (!hasNetwork()) await makeNetwork();
  await makeCertificates(layout);
  tell("network and certificates");
  // kube-proxy ends when somebody writes its file.
  const file = (name: string, text: string): string => {
    const path = join(layout.run, name);
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) writeFileSync(path, text);
    return path;
  };

  start(layout, "registry", "docker-registry", "serve", file("registry.json", configuration.registryFile(layout)));
  await waitFor("the registry answers", 20, () => onNode("curl", "-sf", `${REGISTRY}/v2/`));
  await pushPause(layout);
  writeFileSync(join(layout.cni, "10-bridge.conflist"), configuration.networkFile(layout));
  start(layout, "containerd", "containerd", "-c", file("containerd.toml", configuration.containerdFile(layout)));
  start(layout, "etcd", "etcd", ...configuration.etcdArguments(layout));
  await waitFor("etcd answers", 30, () => onNode("curl", "-sf", "http://127.0.0.1:2379/health"));
  tell("registry, containerd, etcd");

  start(layout, "kube-apiserver", "kube-apiserver", ...configuration.apiServerArguments(layout));
  await waitFor("the API server is ready", 120, () => kubectl(layout, "get", "--raw", "/readyz"));
  const controllers = configuration.controllerManagerArguments(layout);
  start(layout, "kube-controller-manager", "kube-controller-manager", ...controllers);
  start(layout, "kube-scheduler", "kube-scheduler", ...configuration.schedulerArguments(layout));
  tell("control plane");

  const before = await sysctls();
  file("resolv.conf", `nameserver ${DNS_SERVICE}\n`);
  file("kubelet.json", configuration.kubeletFile(layout));
  start(layout, "kubelet", "kubelet", ...configuration.kubeletArguments(layout));
  start(layout, "kube-proxy", "kube-proxy", `--config=${file("proxy.json", configuration.proxyFile(layout))}`);
  await waitFor("the node is ready", 120, () =>
    kubectl(layout, "wait", "--for=condition=Ready", `node/${NODE.name}`, "--timeout=1s"),
  );
  await run("sysctl", ["-qw", ...before]);
  tell("node");

  start(layout, "coredns", "coredns", "-conf", file("Corefile", configuration.dnsFile(layout)));
  const volumes = join(layout.state, "volumes");
  for (const number of VOLUMES) mkdirSync(join(volumes, `${number}`), { recursive: true });
  await apply(layout, ...DNS, STORAGE_CLASS, ...VOLUMES.map((number) => volume(volumes, number)));
  start(
    layout,
    "load-balancer",
    process.execPath,
    join(import.meta.dirname, "load-balancer.ts"),
    layout.bin,
    layout.kubeconfig,
  );
  // Until then no pod is admitted.
  await waitFor("there is a service account", 30, () => kubectl(layout, "get", "serviceaccount", "default"));
  await waitFor("DNS answers", 30, () => onNode("curl", "-sf", `http://${NODE.address}:8181/ready`));
  tell("DNS, volumes, load balancers");
}

/** As `sysctl -w` takes them. */
async function sysctls(): Promise<string[]> {
  const values: string[] = [];
  for (const name of SYSCTLS) values.push(`${name}=${(await run("sysctl", ["-n", name])).trim()}`);
  return values;
}
