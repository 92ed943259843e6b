import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { NodeError } from "./error.ts";

/** The few calls to the API server that the installer makes, with the pod's service account. */
export interface KubernetesApi {
  /** Sets a label of the node, or removes it. @throws NodeError kubernetes_api */
  label(node: string, name: string, value: string | undefined): Promise<void>;
  /** Whether the DaemonSet is there, and is to stay. */
  isWanted(namespace: string, daemonSet: string): Promise<boolean>;
}

/** Where every pod has it (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/). */
const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** @param server `host:port` of the API server */
export function kubernetesApi(host: string, port: string): KubernetesApi {
  const call = async (method: string, path: string, body?: object): Promise<{ status: number; body: string }> => {
    // Both change while the pod runs.
    const [token, ca] = await Promise.all(["token", "ca.crt"].map((name) => readFile(join(ACCOUNT, name), "utf8")));
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host,
          port,
          path,
          method,
          ca,
          timeout: 10_000,
          headers: {
            authorization: `Bearer ${token?.trim() ?? ""}`,
            accept: "application/json",
            ...(body !== undefined && { "content-type": "application/merge-patch+json" }),
          },
        },
        (response) =>
          void text(response).then((answer) => resolve({ status: response.statusCode ?? 0, body: answer }), reject),
      );
      sent.on("timeout", () => sent.destroy(new Error("the API server does not answer")));
      sent.on("error", reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  };
  return {
    async label(node, name, value) {
      const path = `/api/v1/nodes/${node}`;
      const { status, body } = await call("PATCH", path, { metadata: { labels: { [name]: value ?? null } } });
      if (status === 200) return;
      throw new NodeError("kubernetes_api", "the label of the node could not be changed", {
        where: `PATCH ${path}`,
        got: `${status} ${messageIn(body)}`,
        want: "200",
        hint: `kubectl label node ${node} ${name}${value === undefined ? "-" : `=${value}`} does the same`,
      });
    },
    async isWanted(namespace, daemonSet) {
      const { status, body } = await call("GET", `/apis/apps/v1/namespaces/${namespace}/daemonsets/${daemonSet}`);
      // With the file of the runtime class, the right to ask goes, too.
      if (status === 404 || status === 401 || status === 403) return false;
      const { metadata } = (status === 200 ? JSON.parse(body) : {}) as { metadata?: { deletionTimestamp?: string } };
      return metadata?.deletionTimestamp === undefined;
    },
  };
}

function messageIn(body: string): string {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    return typeof message === "string" ? message : "";
  } catch {
    return "";
  }
}
