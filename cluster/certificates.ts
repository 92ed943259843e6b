import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./commands.ts";
import { API_SERVICE, type Layout, NODE } from "./layout.ts";

/** The cluster's CA, and who is who in it (https://kubernetes.io/docs/setup/best-practices/certificates/). */

const HOSTS = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];

const SUBJECTS: Readonly<Record<string, { readonly subject: string; readonly names?: readonly string[] }>> = {
  apiserver: {
    subject: "/CN=kube-apiserver",
    names: [...HOSTS.map((name) => `DNS:${name}`), `IP:${API_SERVICE}`, "IP:127.0.0.1", `IP:${NODE.address}`],
  },
  "kubelet-server": { subject: `/CN=${NODE.name}`, names: [`DNS:${NODE.name}`, `IP:${NODE.address}`] },
  admin: { subject: "/O=system:masters/CN=admin" },
  node: { subject: `/O=system:nodes/CN=system:node:${NODE.name}` },
  "controller-manager": { subject: "/CN=system:kube-controller-manager" },
  scheduler: { subject: "/CN=system:kube-scheduler" },
  proxy: { subject: "/CN=system:kube-proxy" },
  dns: { subject: "/O=system:masters/CN=dns" },
};

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const DAYS = ["-days", "30"];

export async function makeCertificates({ pki, run: folder }: Layout): Promise<void> {
  const file = (name: string): string => join(pki, name);
  if (existsSync(file("ca.crt"))) return;
  const ca = ["-keyout", file("ca.key"), "-out", file("ca.crt")];
  await run("openssl", ["req", "-x509", ...KEY, ...DAYS, "-subj", "/CN=kubernetes", ...ca]);
  await run("openssl", ["genrsa", "-out", file("sa.key"), "2048"]);
  await run("openssl", ["rsa", "-in", file("sa.key"), "-pubout", "-out", file("sa.pub")]);
  for (const [name, { subject, names = [] }] of Object.entries(SUBJECTS)) {
    const request = ["-keyout", file(`${name}.key`), "-out", file(`${name}.csr`)];
    await run("openssl", ["req", ...KEY, "-subj", subject, ...request]);
    const extensions = ["extendedKeyUsage=clientAuth,serverAuth"];
    if (names.length > 0) extensions.push(`subjectAltName=${names.join(",")}`);
    writeFileSync(file(`${name}.ext`), extensions.join("\n"));
    const by = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-CAcreateserial", "-extfile", file(`${name}.ext`)];
    await run("openssl", ["x509", "-req", "-in", file(`${name}.csr`), ...by, ...DAYS, "-out", file(`${name}.crt`)]);
    if (names.length === 0) writeFileSync(join(folder, `${name}.kubeconfig`), kubeconfig(pki, name));
  }
}

function kubeconfig(pki: string, name: string): string {
  const cluster = { server: `https://${NODE.address}:6443`, "certificate-authority": join(pki, "ca.crt") };
  const user = { "client-certificate": join(pki, `${name}.crt`), "client-key": join(pki, `${name}.key`) };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "contrast", cluster }],
    users: [{ name: "user", user }],
    contexts: [{ name: "contrast", context: { cluster: "contrast", user: "user" } }],
    "current-context": "contrast",
  });
}
