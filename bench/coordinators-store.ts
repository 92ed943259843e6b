import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { type KubernetesApi, startKubernetesApi } from "../cluster/kubernetes-api.ts";

/** What several Coordinators share, to be measured: an etcd and a kube-apiserver, and the account of deploy/coordinator.yml. */
export interface BenchStore {
  readonly environment: Readonly<Record<string, string>>;
  /** A command that ends by running what follows it, with the account where pods have theirs. */
  readonly within: readonly string[];
  readonly close: () => Promise<void>;
}

const NAMESPACE = "bench";
const FILE = join(import.meta.dirname, "../deploy/coordinator.yml");
const PLACE = "/run/secrets/kubernetes.io/serviceaccount";
const SCRIPT = `mount -t tmpfs tmpfs /run && mkdir -p ${PLACE} && mount --bind "$0" ${PLACE} && exec "$@"`;

export async function startBenchStore(folder: string, address: string): Promise<BenchStore> {
  mkdirSync(folder);
  const api = await startKubernetesApi({ folder, address });
  await post(api, "/api/v1/namespaces", { metadata: { name: NAMESPACE } });
  for (const document of parseAllDocuments(readFileSync(FILE, "utf8"))) {
    const object = document.toJS() as { apiVersion: string; kind: string };
    if (!["ServiceAccount", "Role", "RoleBinding"].includes(object.kind)) continue;
    const group = object.apiVersion === "v1" ? "/api/v1" : `/apis/${object.apiVersion}`;
    await post(api, `${group}/namespaces/${NAMESPACE}/${object.kind.toLowerCase()}s`, object);
  }
  const account = join(folder, "account");
  mkdirSync(account);
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/coordinator/token`;
  const { status } = (await post(api, path, { spec: { expirationSeconds: 3600 } })) as { status: { token: string } };
  writeFileSync(join(account, "token"), status.token);
  writeFileSync(join(account, "ca.crt"), api.ca);
  writeFileSync(join(account, "namespace"), NAMESPACE);
  return {
    environment: {
      CONTRAST_STATE_STORE: "kubernetes",
      KUBERNETES_SERVICE_HOST: api.address,
      KUBERNETES_SERVICE_PORT: api.port,
    },
    within: ["unshare", "--mount", "sh", "-c", SCRIPT, account],
    close: () => api.close(),
  };
}

async function post(api: KubernetesApi, path: string, object: object): Promise<unknown> {
  const { status, body } = await api.admin("POST", path, object);
  if (status >= 300) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`);
  return body;
}
