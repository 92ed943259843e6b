import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { KubernetesStoreOptions } from "../../store/kubernetes/kubernetes-store.ts";
import type { KubernetesApi } from "./server.ts";

/** Who calls the API: service accounts, with tokens that the API server makes, and the rights of `deploy/`. */

const DEPLOYMENT = join(import.meta.dirname, "..", "..", "deploy", "coordinator.yml");
const RIGHTS = new Set(["ServiceAccount", "Role", "RoleBinding"]);

export interface Account {
  readonly namespace: string;
  /** As it is mounted into a pod: token, ca.crt, namespace. */
  readonly folder: string;
}

/** Makes the namespace, where it is missing. */
export async function makeNamespace(api: KubernetesApi, namespace: string): Promise<void> {
  await done(api.admin("POST", "/api/v1/namespaces", { metadata: { name: namespace } }));
}

/**
 * A service account of its own name, in a namespace that is made where it is missing.
 *
 * @param rights `coordinator`: what deploy/coordinator.yml gives; `none`
 */
export async function makeAccount(
  api: KubernetesApi,
  namespace: string,
  rights: "coordinator" | "none" = "coordinator",
): Promise<Account> {
  await makeNamespace(api, namespace);
  const name = rights === "none" ? "nobody" : "coordinator";
  const base = `/api/v1/namespaces/${namespace}/serviceaccounts`;
  if (rights === "none") await done(api.admin("POST", base, { metadata: { name } }));
  else await applyRights(api, namespace);
  const folder = join(api.folder, "accounts", namespace, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "ca.crt"), api.ca);
  writeFileSync(join(folder, "namespace"), namespace);
  const account = { namespace, folder };
  await renewToken(api, account, name);
  return account;
}

/** As the kubelet does while a pod runs. */
export async function renewToken(api: KubernetesApi, account: Account, name = "coordinator"): Promise<void> {
  const path = `/api/v1/namespaces/${account.namespace}/serviceaccounts/${name}/token`;
  const { body } = await done(api.admin("POST", path, { spec: { expirationSeconds: 3600 } }));
  writeFileSync(join(account.folder, "token"), (body as { status: { token: string } }).status.token);
}

/** Applies what deploy/coordinator.yml has of rights. @param without a verb that nobody gets */
export async function applyRights(api: KubernetesApi, namespace: string, without?: string): Promise<void> {
  for (const document of parseAllDocuments(readFileSync(DEPLOYMENT, "utf8"))) {
    const object = document.toJS() as Resource;
    if (!RIGHTS.has(object.kind)) continue;
    for (const rule of object.rules ?? []) rule.verbs = rule.verbs.filter((verb) => verb !== without);
    object.rules = object.rules?.filter(({ verbs }) => verbs.length > 0);
    const group = object.apiVersion === "v1" ? "/api/v1" : `/apis/${object.apiVersion}`;
    const path = `${group}/namespaces/${namespace}/${object.kind.toLowerCase()}s`;
    const { status } = await api.admin("POST", path, object);
    if (status !== 409) continue;
    if (object.kind !== "ServiceAccount") await done(api.admin("PUT", `${path}/${object.metadata.name}`, object));
  }
}

interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  rules?: { verbs: string[] }[] | undefined;
}

/** For a `KubernetesStore` in this process. */
export function storeOptions(
  api: KubernetesApi,
  { namespace, folder }: Account,
  around: Pick<KubernetesStoreOptions, "random" | "sleep" | "monotonic" | "sweepAgeMs">,
  name = "coordinator",
): KubernetesStoreOptions {
  return { place: { host: api.address, port: api.port, account: folder }, namespace, name, ...around };
}

/**
 * For a Coordinator that is a process of its own (`startProgram`): its environment, and the command that gives it the
 * service account where pods have it, in a mount namespace of its own. It takes root.
 */
export function programOptions(
  api: Pick<KubernetesApi, "address" | "port">,
  { folder }: Pick<Account, "folder">,
  address = api.address,
): { readonly environment: Record<string, string>; readonly within: readonly string[] } {
  const place = "/run/secrets/kubernetes.io/serviceaccount";
  const script = `mount -t tmpfs tmpfs /run && mkdir -p ${place} && mount --bind "$0" ${place} && exec "$@"`;
  return {
    environment: {
      CONTRAST_STATE_STORE: "kubernetes",
      KUBERNETES_SERVICE_HOST: address,
      KUBERNETES_SERVICE_PORT: api.port,
    },
    within: ["unshare", "--mount", "sh", "-c", script, folder],
  };
}

/** For kubectl, as `system:masters`. @returns the path of the file */
export function writeKubeconfig(api: KubernetesApi): string {
  const token = readFileSync(join(api.folder, "admin", "token"), "utf8");
  const path = join(api.folder, "kubeconfig");
  const cluster = {
    server: `https://${api.address}:${api.port}`,
    "certificate-authority-data": Buffer.from(api.ca).toString("base64"),
  };
  const document = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster }],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
    "current-context": "test",
  };
  writeFileSync(path, JSON.stringify(document), { mode: 0o600 });
  return path;
}

async function done(answer: ReturnType<KubernetesApi["admin"]>): Promise<Awaited<ReturnType<KubernetesApi["admin"]>>> {
  const { status, body } = await answer;
  if (status >= 300 && status !== 409) throw new Error(`${status} ${JSON.stringify(body)}`);
  return { status, body };
}
