/** The images: what runs in each, and what it needs beside Node. */
export interface Image {
  /** Its folder here, and its name behind `contrast/`. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Compiled programs, below dist/ and then below /opt/contrast/. */
  readonly programs: readonly string[];
  /** Debian's packages that the base does not have. */
  readonly packages: readonly string[];
  /** Folders where a volume is mounted, of the plain user, and their modes: an engine's new volume takes both over. */
  readonly volumes: Readonly<Record<string, number>>;
  /** Whether the native engine of the mesh proxy goes into it. */
  readonly takesEngine?: true;
  /** Whether a guest image for Kata goes into it, where there is one. */
  readonly takesGuest?: true;
}

/** What a distroless image for programs in C++ has, too: with `--base` such a one takes its place. */
export const BASE_PACKAGES = ["base-files", "libc6", "libstdc++6", "libgcc-s1"];

/** Node 25 and later. */
const NODE_NEEDS = "libatomic1";

export const IMAGES: readonly Image[] = [
  {
    name: "initializer",
    title: "Contrast Initializer",
    description: "Proves to the Coordinator what its pod is, and gets its certificates",
    programs: ["initializer/main.js"],
    // It closes the pod's ports, or lifts the default deny of a guest image where nothing is to guard them. It opens and
    // formats encrypted volumes with the rest.
    packages: [NODE_NEEDS, "iptables", "cryptsetup-bin", "dmsetup", "e2fsprogs"],
    // As an emptyDir of Kubernetes: for whoever runs the Initializer. A tmpfs is mounted on the other.
    volumes: { "tls-config": 0o1777, "run/contrast-volume": 0o755 },
  },
  {
    name: "mesh-proxy",
    title: "Contrast mesh proxy",
    description: "Mutual TLS for the pod that it runs beside",
    programs: ["mesh-proxy/main.js"],
    packages: [NODE_NEEDS, "iptables"],
    volumes: {},
    takesEngine: true,
  },
  {
    name: "coordinator",
    title: "Contrast Coordinator",
    description: "Attests workloads against a manifest and is their certificate authority",
    programs: ["coordinator/main.js"],
    packages: [NODE_NEEDS],
    volumes: { "var/lib/contrast": 0o755 },
  },
  {
    name: "node-installer",
    title: "Contrast node installer",
    description: "Gives a node's containerd the runtime of confidential pods",
    programs: ["node-installer/main.js"],
    // Its nsenter, to restart the node's containerd.
    packages: [NODE_NEEDS, "busybox-static"],
    volumes: {},
    takesGuest: true,
  },
  {
    name: "collateral-proxy",
    title: "Contrast collateral proxy",
    description: "Serves the CPU vendors' certificates and revocation lists from a cache",
    programs: ["cli/main.js"],
    packages: [NODE_NEEDS],
    volumes: { "var/cache/contrast": 0o755 },
  },
  {
    name: "emojivoto",
    title: "Emojivoto for Contrast",
    description: "The applications of the demo",
    programs: ["emoji", "voting", "web", "vote-bot"].map((name) => `demo/apps/${name}.js`),
    packages: [NODE_NEEDS],
    volumes: {},
  },
];
