import { join } from "node:path";
import { DNS_SERVICE, type Layout, NODE, PODS, REGISTRY, RUNTIME_HANDLERS, SERVICES } from "./layout.ts";

/** The files and arguments that the programs of the node are started with. */

export function registryFile({ state }: Layout): string {
  return JSON.stringify({
    version: 0.1,
    log: { level: "warn" },
    storage: { filesystem: { rootdirectory: join(state, "registry") }, delete: { enabled: true } },
    http: { addr: REGISTRY.replace("localhost", "127.0.0.1") },
  });
}

/** A bridge for the pods, and the ports that they have on the node. */
export function networkFile({ state }: Layout): string {
  return JSON.stringify({
    cniVersion: "0.4.0",
    name: "bridge",
    plugins: [
      {
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: {
          type: "host-local",
          dataDir: join(state, "cni"),
          ranges: [[{ subnet: PODS }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  });
}

/** containerd 1.6 reads TOML. */
export function containerdFile(layout: Layout): string {
  const cri = `[plugins."io.containerd.grpc.v1.cri"`;
  const runtimes = RUNTIME_HANDLERS.map(
    (handler) => `${cri}.containerd.runtimes.${handler}]
  runtime_type = "io.containerd.runc.v2"
${cri}.containerd.runtimes.${handler}.options]
  SystemdCgroup = false
`,
  );
  return `version = 2
root = "${join(layout.state, "containerd")}"
state = "${layout.containerd}"
[grpc]
  address = "${containerdSocket(layout)}"
${cri}]
  sandbox_image = "${REGISTRY}/pause:1"
  restrict_oom_score_adj = true
# There is no way out: what others have on Docker Hub has to be in the node's registry.
${cri}.registry.mirrors."docker.io"]
  endpoint = ["http://${REGISTRY}"]
${cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${layout.cni}"
${cri}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
${runtimes.join("")}`;
}

export function containerdSocket({ containerd }: Layout): string {
  return join(containerd, "containerd.sock");
}

export function kubeletFile(layout: Layout): string {
  const { pki, run } = layout;
  return JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    failCgroupV1: false,
    failSwapOn: false,
    cgroupDriver: "cgroupfs",
    containerRuntimeEndpoint: `unix://${containerdSocket(layout)}`,
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: join(pki, "ca.crt") },
    },
    authorization: { mode: "Webhook" },
    tlsCertFile: join(pki, "kubelet-server.crt"),
    tlsPrivateKeyFile: join(pki, "kubelet-server.key"),
    clusterDNS: [DNS_SERVICE],
    clusterDomain: "cluster.local",
    resolvConf: join(run, "resolv.conf"),
    evictionHard: {
      "memory.available": "100Mi",
      "nodefs.available": "2%",
      "imagefs.available": "2%",
      "nodefs.inodesFree": "1%",
    },
    maxPods: 200,
    registryPullQPS: 0,
  });
}

export function proxyFile({ run }: Layout): string {
  return JSON.stringify({
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    clientConnection: { kubeconfig: join(run, "proxy.kubeconfig") },
    mode: "iptables",
    clusterCIDR: PODS,
    hostnameOverride: NODE.name,
    conntrack: { maxPerCore: 0, min: 0 },
    nodePortAddresses: [`${NODE.address}/32`],
  });
}

export function dnsFile({ run }: Layout): string {
  return `.:53 {
  bind ${NODE.address}
  errors
  health ${NODE.address}:8080
  ready ${NODE.address}:8181
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig ${join(run, "dns.kubeconfig")} contrast
    pods insecure
    ttl 30
  }
  cache 30
}
`;
}

export function etcdArguments({ state }: Layout): string[] {
  return [
    `--data-dir=${join(state, "etcd")}`,
    "--listen-client-urls=http://127.0.0.1:2379",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
    "--unsafe-no-fsync",
    "--log-level=warn",
  ];
}

export function apiServerArguments({ pki }: Layout): string[] {
  return [
    "--etcd-servers=http://127.0.0.1:2379",
    `--advertise-address=${NODE.address}`,
    "--bind-address=0.0.0.0",
    `--service-cluster-ip-range=${SERVICES}`,
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",
    `--client-ca-file=${join(pki, "ca.crt")}`,
    `--tls-cert-file=${join(pki, "apiserver.crt")}`,
    `--tls-private-key-file=${join(pki, "apiserver.key")}`,
    "--kubelet-preferred-address-types=InternalIP",
    `--kubelet-certificate-authority=${join(pki, "ca.crt")}`,
    `--kubelet-client-certificate=${join(pki, "admin.crt")}`,
    `--kubelet-client-key=${join(pki, "admin.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${join(pki, "sa.pub")}`,
    `--service-account-signing-key-file=${join(pki, "sa.key")}`,
  ];
}

export function controllerManagerArguments({ pki, run }: Layout): string[] {
  const config = join(run, "controller-manager.kubeconfig");
  return [
    `--kubeconfig=${config}`,
    `--authentication-kubeconfig=${config}`,
    `--authorization-kubeconfig=${config}`,
    `--service-account-private-key-file=${join(pki, "sa.key")}`,
    `--root-ca-file=${join(pki, "ca.crt")}`,
    "--use-service-account-credentials=true",
    "--leader-elect=false",
    "--bind-address=127.0.0.1",
  ];
}

export function schedulerArguments({ run }: Layout): string[] {
  const config = join(run, "scheduler.kubeconfig");
  return [
    `--kubeconfig=${config}`,
    `--authentication-kubeconfig=${config}`,
    `--authorization-kubeconfig=${config}`,
    "--leader-elect=false",
    "--bind-address=127.0.0.1",
  ];
}

export function kubeletArguments({ run, state }: Layout): string[] {
  return [
    `--config=${join(run, "kubelet.json")}`,
    `--kubeconfig=${join(run, "node.kubeconfig")}`,
    `--hostname-override=${NODE.name}`,
    `--node-ip=${NODE.address}`,
    `--root-dir=${join(state, "kubelet")}`,
    "--node-labels=katacontainers.io/kata-runtime=true",
  ];
}
