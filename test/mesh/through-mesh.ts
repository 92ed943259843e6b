import type { Socket } from "node:net";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import { bindIngress, connectPlain, startLiveProxy, type StartedProxy, startServer } from "../mesh-proxies.ts";

/** A client, its mesh proxy, mutual TLS, the application's mesh proxy, the application. */
export interface ThroughMesh {
  readonly mesh: Mesh;
  /** What the client's proxy is, and the application's. */
  readonly client: Workload;
  readonly server: Workload;
  readonly egress: StartedProxy;
  readonly ingress: StartedProxy;
  /** Of the application, of the ingress and of the egress alike. */
  readonly port: number;
  readonly connect: () => Socket;
}

export interface ThroughMeshOptions {
  /** The first three octets of loopback addresses that no other test file has. */
  readonly subnet: string;
  readonly application: (socket: Socket) => void;
  readonly variables?: Readonly<Record<string, string>>;
}

export async function startThroughMesh({
  subnet,
  application,
  variables = {},
}: ThroughMeshOptions): Promise<ThroughMesh> {
  const mesh = await createMesh();
  const client = await mesh.issue({ sans: ["client"] });
  const server = await mesh.issue({ sans: ["server"] });
  const host = { egress: `${subnet}.1`, ingress: `${subnet}.2`, application: `${subnet}.3` };
  const port = await startServer(host.application, application);
  const ingress = await startLiveProxy(mesh, server, {
    ...bindIngress(host.ingress, host.application, port),
    ...variables,
  });
  const egress = await startLiveProxy(mesh, client, {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${host.egress}:${port}#${host.ingress}:${port}#server`,
  });
  return { mesh, client, server, egress, ingress, port, connect: () => connectPlain(host.egress, port) };
}

/** Gives a proxy other certificates, at once. */
export async function renew(proxy: StartedProxy, { meshCa }: Mesh, { certChain, key }: Workload): Promise<void> {
  await writeFile(join(proxy.folder, "certChain.pem"), certChain);
  await writeFile(join(proxy.folder, "key.pem"), key);
  await writeFile(join(proxy.folder, "mesh-ca.pem"), meshCa);
  await proxy.credentials.reload();
}
