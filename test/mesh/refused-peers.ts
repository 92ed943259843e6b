import { createServer } from "node:tls";
import { expect } from "vitest";
import type { Mesh, Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  type LogLine,
  refusals,
  startProxy,
  startServer,
} from "../mesh-proxies.ts";

/** Peers that a mesh proxy has to refuse, each with what the other side of the proxy notices of it: nothing. */

export interface Refusal {
  readonly mesh: Mesh;
  /** What the peer shows. */
  readonly peer: Workload;
  /** The first three octets of loopback addresses that no other test file has. */
  readonly subnet: string;
}

/** @returns the lines of the log about it */
export async function refusedClient({ mesh, peer, subnet }: Refusal): Promise<LogLine[]> {
  let seen = 0;
  const [proxy, application] = [`${subnet}.1`, `${subnet}.2`];
  const port = await startServer(application, () => seen++);
  const lines = await startProxy(mesh, await mesh.issue({ sans: ["server"] }), {
    ...bindIngress(proxy, application, port),
  });
  const socket = connectSecurely(mesh, peer, { host: proxy, port });
  socket.write("hello");
  // Not a clean end, although the handshake was done for this side.
  expect(await ending(socket)).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toHaveLength(1);
  expect(seen).toBe(0);
  return refusals(lines);
}

/** @param san that the rule pins; any will do where it is left out */
export async function refusedUpstream({ mesh, peer, subnet }: Refusal, san?: string): Promise<LogLine[]> {
  let received = 0;
  const [proxy, upstream] = [`${subnet}.3`, `${subnet}.4`];
  const { certChain: cert, key } = peer;
  const server = createServer({ cert, key, ca: mesh.meshCa, requestCert: true, minVersion: "TLSv1.3" });
  const port = await startServer(
    upstream,
    (socket) => void socket.on("data", ({ length }: Buffer) => (received += length)),
    server,
  );
  const rule = `upstream#${proxy}:${port}#${upstream}:${port}${san === undefined ? "" : `#${san}`}`;
  const lines = await startProxy(mesh, await mesh.issue({ sans: ["client"] }), { CONTRAST_EGRESS_PROXY_CONFIG: rule });
  const socket = connectPlain(proxy, port);
  socket.write("secret");
  expect(await ending(socket)).toBe("ECONNRESET");
  expect(received).toBe(0);
  await expect.poll(() => refusals(lines)).not.toEqual([]);
  return refusals(lines).map((line) => {
    expect(line).toMatchObject({ where: `${upstream}:${port}`, listener: `${proxy}:${port}` });
    return line;
  });
}
