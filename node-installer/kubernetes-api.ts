import { ACCOUNT, ApiClient, messageOf } from "../kubernetes/api/client.ts";
import { NodeError } from "./error.ts";

/** The few calls to the API server that the installer makes, with the pod's service account. */
export interface KubernetesApi {
  /** Sets a label of the node, or removes it. @throws NodeError kubernetes_api */
  label(node: string, name: string, value: string | undefined): Promise<void>;
  /** Whether the DaemonSet is there, and is to stay. */
  isWanted(namespace: string, daemonSet: string): Promise<boolean>;
}

const TIMEOUT_MS = 10_000;
/** A node lists its images, among others. */
const MAX_BYTES = 4 * 1024 * 1024;

/** @param host of the API server */
export function kubernetesApi(host: string, port: string): KubernetesApi {
  const client = new ApiClient({ host, port, account: ACCOUNT }, { timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES });
  return {
    async label(node, name, value) {
      const path = `/api/v1/nodes/${node}`;
      const body = { metadata: { labels: { [name]: value ?? null } } };
      const answer = await client.call({ method: "PATCH", path, body }).catch((error: unknown) => error as Error);
      if (!(answer instanceof Error) && answer.status === 200) return;
      throw new NodeError("kubernetes_api", "the label of the node could not be changed", {
        where: `PATCH ${path}`,
        got: answer instanceof Error ? answer.message : `${answer.status} ${messageOf(answer)}`,
        want: "200",
        hint: `kubectl label node ${node} ${name}${value === undefined ? "-" : `=${value}`} does the same`,
      });
    },
    async isWanted(namespace, daemonSet) {
      const path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${daemonSet}`;
      const { status, body } = await client.call({ method: "GET", path });
      // With the file of the runtime class, the right to ask goes, too.
      if (status === 404 || status === 401 || status === 403) return false;
      const { metadata } = (status === 200 ? body : {}) as { metadata?: { deletionTimestamp?: string } };
      return metadata?.deletionTimestamp === undefined;
    },
  };
}
