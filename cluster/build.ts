import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Builds the programs of a Kubernetes node from Go modules, each once: they are kept in `node_modules/.cache`.
 */

const KUBERNETES_VERSION = "1.34.4";
const COREDNS_VERSION = "v1.12.4";

const KUBERNETES = [
  "kube-apiserver",
  "kubelet",
  "kube-controller-manager",
  "kube-scheduler",
  "kube-proxy",
  "kubectl",
] as const;

/** Imported so that `go mod` knows what is built. */
const KUBERNETES_PACKAGES = [
  "k8s.io/kubernetes/cmd/kube-apiserver/app",
  "k8s.io/kubernetes/cmd/kube-controller-manager/app",
  "k8s.io/kubernetes/cmd/kube-proxy/app",
  "k8s.io/kubernetes/cmd/kube-scheduler/app",
  "k8s.io/kubernetes/cmd/kubelet/app",
  "k8s.io/kubectl/pkg/cmd",
];

/** The plugins that a cluster needs, in the order in which a query passes them. */
const COREDNS_PLUGINS = ["bind", "health", "ready", "errors", "log", "cache", "kubernetes"];

/** PID 1 of a pod's sandbox: waits, and reaps what is left to it. */
const PAUSE = `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}
`;

export interface Built {
  /** The folder with the programs. */
  readonly bin: string;
}

/** @param root of the checkout */
export function cacheOf(root: string): string {
  return join(root, "node_modules", ".cache", `kubernetes-${KUBERNETES_VERSION}`);
}

/** @returns whether nothing is left to build */
export function isBuilt(cache: string): boolean {
  return missingIn(binOf(cache)).length === 0;
}

/** @returns why the programs can't be built here; undefined: they can be, or are there */
export function cannotBuild(cache: string): string | undefined {
  if (isBuilt(cache)) return undefined;
  const { status } = spawnSync("go", ["version"], { stdio: "ignore" });
  return status === 0 ? undefined : "Go is missing, which builds Kubernetes";
}

/** @param tell is told what is being built */
export function build(cache: string, tell: (line: string) => void): Built {
  const bin = binOf(cache);
  mkdirSync(bin, { recursive: true });
  const missing = missingIn(bin);
  const ofKubernetes = KUBERNETES.filter((name) => missing.includes(name));
  if (ofKubernetes.length > 0) {
    const module = kubernetesModule(join(cache, "source"));
    for (const name of ofKubernetes) {
      tell(`building ${name}`);
      goBuild(module, join(bin, name), `k8s.io/kubernetes/cmd/${name}`, versionFlags());
    }
  }
  if (missing.includes("coredns")) {
    tell("building coredns");
    goBuild(coreDnsModule(join(cache, "coredns-source")), join(bin, "coredns"), ".", "-s -w");
  }
  if (missing.includes("pause")) {
    const module = moduleOf(join(cache, "pause-source"), { "main.go": PAUSE, "go.mod": "module pause\n\ngo 1.24.0\n" });
    goBuild(module, join(bin, "pause"), ".", "-s -w");
  }
  return { bin };
}

export function binOf(cache: string): string {
  return join(cache, "bin");
}

function missingIn(bin: string): string[] {
  return [...KUBERNETES, "coredns", "pause"].filter((name) => !existsSync(join(bin, name)));
}

function kubernetesModule(folder: string): string {
  const go = `module cluster\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v${KUBERNETES_VERSION}\n`;
  const tools = KUBERNETES_PACKAGES.map((path) => `\t_ "${path}"`).join("\n");
  const isNew = !existsSync(join(folder, "go.sum"));
  moduleOf(folder, { "tools.go": `//go:build tools\n\npackage tools\n\nimport (\n${tools}\n)\n` });
  if (!isNew) return folder;
  writeFileSync(join(folder, "go.mod"), go);
  const { Dir: source } = JSON.parse(
    run(folder, ["mod", "download", "-json", `k8s.io/kubernetes@v${KUBERNETES_VERSION}`]),
  ) as { Dir: string };
  // Kubernetes replaces its own modules by folders; each of them has a release of the same number.
  const staged = Array.from(
    readFileSync(join(source, "go.mod"), "utf8").matchAll(/^\t(k8s\.io\/[a-z0-9-]+) => \.\/staging\//gm),
    ([, path = ""]) => `replace ${path} => ${path} v0.${KUBERNETES_VERSION.replace(/^1\./, "")}\n`,
  );
  writeFileSync(join(folder, "go.mod"), go + [...new Set(staged)].join(""));
  // Kubernetes' own pins.
  writeFileSync(join(folder, "go.sum"), readFileSync(join(source, "go.sum")));
  return folder;
}

function coreDnsModule(folder: string): string {
  const plugins = COREDNS_PLUGINS.map((name) => `\t_ "github.com/coredns/coredns/plugin/${name}"`).join("\n");
  const names = COREDNS_PLUGINS.map((name) => `"${name}"`).join(", ");
  const main = `package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

${plugins}
)

func main() {
	dnsserver.Directives = []string{${names}}
	coremain.Run()
}
`;
  moduleOf(folder, { "main.go": main });
  if (existsSync(join(folder, "go.sum"))) return folder;
  run(folder, ["mod", "init", "coredns"]);
  run(folder, ["get", `github.com/coredns/coredns@${COREDNS_VERSION}`]);
  run(folder, ["mod", "tidy"]);
  return folder;
}

function moduleOf(folder: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

function versionFlags(): string {
  const [, minor = ""] = KUBERNETES_VERSION.split(".");
  const values = {
    gitVersion: `v${KUBERNETES_VERSION}`,
    gitMajor: "1",
    gitMinor: minor,
    gitCommit: "0".repeat(40),
    gitTreeState: "clean",
    buildDate: "1970-01-01T00:00:00Z",
  };
  const set = Object.entries(values).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
  return ["-s -w", ...set].join(" ");
}

function goBuild(folder: string, out: string, path: string, flags: string): void {
  run(folder, ["build", "-trimpath", "-ldflags", flags, "-o", out, path]);
}

function run(cwd: string, args: readonly string[]): string {
  const env = { ...process.env, GOFLAGS: "-mod=mod", CGO_ENABLED: "0", GOTOOLCHAIN: "local" };
  return execFileSync("go", args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
