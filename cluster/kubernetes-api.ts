import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { binOf, cacheOf } from "./build.ts";

/**
 * The API of Kubernetes as it is: an etcd and kube-apiservers on addresses of loopback, with RBAC, and nothing else of a
 * cluster: no pods run, and no controller removes what others own. Both programs are processes that can be killed, paused
 * and started again.
 *
 * Debian 12 has etcd (`apt-get install etcd-server`); `npm run cluster -- --build` builds kube-apiserver.
 *
 *     const api = await startKubernetesApi({ folder, address: "127.41.1.1" });
 *     const account = await makeAccount(api, "namespace");   // test/kubernetes-api/accounts.ts
 *     const store = await KubernetesStore.open(storeOptions(api, account, { random, sleep, monotonic }));
 *     await api.close();
 */

const ROOT = join(import.meta.dirname, "..");
/** Where kubectl is, too. */
export const BIN = binOf(cacheOf(ROOT));
const API_SERVER = join(BIN, "kube-apiserver");
const ETCD = "/usr/bin/etcd";
const API_PORT = 6443;
const ETCD_PORT = 2379;

/** Why it can't be started here; undefined: it can. */
export const NO_KUBERNETES_API = !existsSync(ETCD)
  ? "etcd is missing (apt-get install etcd-server)"
  : existsSync(API_SERVER)
    ? undefined
    : "kube-apiserver is missing (npm run cluster -- --build)";

export interface KubernetesApiOptions {
  /** Empty, and the caller's to remove. */
  readonly folder: string;
  /** Of loopback, for this API alone: etcd has 2379 and 2380 there, the API server 6443. */
  readonly address: string;
  /** Further API servers on the same etcd. */
  readonly others?: readonly string[];
  /** Further addresses in the certificate of the API servers: of what stands in between (relay.ts, liar.ts). */
  readonly names?: readonly string[];
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** A program of the API, which can end and begin again. */
export class Service {
  readonly #command: string;
  readonly #args: readonly string[];
  readonly #log: string;
  readonly #isReady: () => Promise<boolean>;
  #child: ChildProcess | undefined;

  constructor(command: string, args: readonly string[], log: string, isReady: () => Promise<boolean>) {
    this.#command = command;
    this.#args = args;
    this.#log = log;
    this.#isReady = isReady;
  }

  /** @returns when it answers */
  async start(): Promise<void> {
    const log = openSync(this.#log, "a");
    // It ends with this process, however that ends.
    const args = ["--pdeathsig", "KILL", this.#command, ...this.#args];
    const child = spawn("setpriv", args, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.#child = child;
    for (let waited = 0; !(await this.#isReady().catch(() => false)); waited += 100) {
      if (child.exitCode !== null || child.signalCode !== null || waited >= 120_000) {
        child.kill("SIGKILL");
        throw new Error(`${this.#command} does not get ready:\n${readFileSync(this.#log, "utf8").slice(-4000)}`);
      }
      await sleep(100);
    }
  }

  /** @returns when it has ended */
  async stop(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGCONT");
    child.kill(signal);
    await once(child, "exit");
  }

  /** It keeps its connections, and says nothing. */
  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }
}

export interface KubernetesApi {
  readonly etcd: Service;
  /** One for each address, in the order of the options. */
  readonly servers: readonly Service[];
  readonly address: string;
  readonly port: string;
  /** PEM. */
  readonly ca: string;
  readonly folder: string;
  /** Of the API servers, PEM. */
  readonly identity: { readonly cert: string; readonly key: string };
  /** A call as `system:masters`. */
  readonly admin: (method: string, path: string, body?: object, type?: string) => Promise<Answer>;
  /** Has etcd forget every revision but the present one. */
  readonly compact: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function startKubernetesApi(options: KubernetesApiOptions): Promise<KubernetesApi> {
  const { folder, address, others = [], names = [] } = options;
  const pki = join(folder, "pki");
  makeCertificates(pki, [address, ...others, ...names]);
  const etcd = etcdOn(folder, address);
  const ca = readFileSync(join(pki, "ca.crt"), "utf8");
  const token = readFileSync(join(pki, "tokens.csv"), "utf8").split(",")[0] ?? "";
  const { ApiClient } = await import("../kubernetes/api/client.ts");
  mkdirSync(join(folder, "admin"));
  writeFileSync(join(folder, "admin", "token"), token);
  writeFileSync(join(folder, "admin", "ca.crt"), ca);
  const clientOf = (host: string): InstanceType<typeof ApiClient> =>
    new ApiClient(
      { host, port: String(API_PORT), account: join(folder, "admin") },
      { timeoutMs: 30_000, maxBytes: 2 ** 26 },
    );
  const client = clientOf(address);
  const servers = [address, ...others].map((host) => {
    const probe = clientOf(host);
    return new Service(
      API_SERVER,
      apiServerArguments(pki, host, address),
      join(folder, `kube-apiserver-${host}.log`),
      async () =>
        (await probe.call({ method: "GET", path: "/api/v1/namespaces/kube-system" })).status === 200 &&
        (await isReady(host, ca)),
    );
  });
  try {
    await etcd.start();
    for (const server of servers) await server.start();
  } catch (error) {
    for (const service of [...servers, etcd]) await service.stop();
    throw error;
  }
  return {
    etcd,
    servers,
    address,
    port: String(API_PORT),
    ca,
    folder,
    identity: {
      cert: readFileSync(join(pki, "server.crt"), "utf8"),
      key: readFileSync(join(pki, "server.key"), "utf8"),
    },
    admin: (method, path, body) => client.call({ method: method as "GET", path, ...(body !== undefined && { body }) }),
    compact: () => compact(address),
    close: async () => {
      client.close();
      for (const server of servers) await server.stop();
      await etcd.stop();
    },
  };
}

function etcdOn(folder: string, address: string): Service {
  const url = `http://${address}:${ETCD_PORT}`;
  const peer = `http://${address}:${ETCD_PORT + 1}`;
  const args = [
    `--data-dir=${join(folder, "etcd")}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    "--log-level=warn",
  ];
  return new Service(ETCD, args, join(folder, "etcd.log"), async () => (await fetch(`${url}/health`)).ok);
}

function apiServerArguments(pki: string, address: string, etcd: string): string[] {
  return [
    `--etcd-servers=http://${etcd}:${ETCD_PORT}`,
    `--bind-address=${address}`,
    `--secure-port=${API_PORT}`,
    // Loopback is no address of a Service's endpoints, and nobody asks for these.
    "--advertise-address=192.0.2.1",
    "--endpoint-reconciler-type=none",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=RBAC",
    `--token-auth-file=${join(pki, "tokens.csv")}`,
    `--tls-cert-file=${join(pki, "server.crt")}`,
    `--tls-private-key-file=${join(pki, "server.key")}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${join(pki, "sa.pub")}`,
    `--service-account-signing-key-file=${join(pki, "sa.key")}`,
    `--cert-dir=${pki}`,
  ];
}

/** Before `readyz` an API server may not have read who has which rights, and refuses all but administrators. */
async function isReady(host: string, ca: string): Promise<boolean> {
  const asked = request({ host, port: API_PORT, path: "/readyz", ca, agent: false }).end();
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  answer.resume();
  return answer.statusCode === 200;
}

/** The API server's JSON gateway of etcd v3. */
async function compact(address: string): Promise<void> {
  const call = async (path: string, body: object): Promise<{ header?: { revision?: string } }> => {
    const answer = await fetch(`http://${address}:${ETCD_PORT}/v3/kv/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    const said = await answer.text();
    // The API server compacts by itself, too, and may have been quicker.
    if (!answer.ok && !said.includes("has been compacted")) throw new Error(`etcd: ${answer.status} ${said}`);
    return JSON.parse(said) as { header?: { revision?: string } };
  };
  const { header } = await call("range", { key: Buffer.from("none").toString("base64") });
  await call("compaction", { revision: header?.revision, physical: true });
}

function makeCertificates(pki: string, addresses: readonly string[]): void {
  mkdirSync(pki, { recursive: true });
  const file = (name: string): string => join(pki, name);
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...key,
    "-days",
    "30",
    "-subj",
    "/CN=kubernetes",
    "-keyout",
    file("ca.key"),
    "-out",
    file("ca.crt"),
  );
  openssl("genrsa", "-out", file("sa.key"), "2048");
  openssl("rsa", "-in", file("sa.key"), "-pubout", "-out", file("sa.pub"));
  openssl("req", ...key, "-subj", "/CN=kube-apiserver", "-keyout", file("server.key"), "-out", file("server.csr"));
  const names = addresses.map((address) => `IP:${address}`).join();
  writeFileSync(file("server.ext"), `extendedKeyUsage=serverAuth\nsubjectAltName=${names}\n`);
  const by = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-CAcreateserial", "-extfile", file("server.ext")];
  openssl("x509", "-req", "-in", file("server.csr"), ...by, "-days", "30", "-out", file("server.crt"));
  writeFileSync(file("tokens.csv"), "the-token-of-an-administrator,admin,admin,system:masters\n", { mode: 0o600 });
}
