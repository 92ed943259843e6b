import { once } from "node:events";
import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { certificateMessageSize, LONGEST_CHAIN } from "../../manifest/certificate-size.ts";
import { createMesh } from "../../pki/test-mesh.ts";
import { bindIngress, connectPlain, readAll, startLiveProxy, startServer } from "../mesh-proxies.ts";
import { renew } from "./through-mesh.ts";

/**
 * A workload with as many names as a manifest may give it. Its chain fits into what a proxy takes of a handshake. A ticket
 * of TLS has the client's certificate in it; one that nobody can open any more must not make the next handshake too long.
 */

const EGRESS = "127.77.15.1";
const INGRESS = "127.77.15.2";
const APPLICATION = "127.77.15.3";

test("a workload with long names is served, also with a ticket that the other proxy can't open any more", async () => {
  const mesh = await createMesh();
  const names = Array.from(
    { length: 40 },
    (_, index) => `${`${index}`.padStart(61, "a")}.${"b".repeat(61)}.example.${"c".repeat(60)}.test`,
  );
  const client = await mesh.issue({ sans: names });
  const certificates = client.certChain.split(/(?=-----BEGIN)/).map((pem) => new X509Certificate(pem).raw.length);
  const size = certificateMessageSize(certificates);
  expect(size).toBeLessThanOrEqual(LONGEST_CHAIN);
  expect(size).toBeGreaterThan(0.9 * LONGEST_CHAIN);

  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const ingress = await startLiveProxy(mesh, await mesh.issue({ sans: ["server"] }), {
    ...bindIngress(INGRESS, APPLICATION, port),
  });
  await startLiveProxy(mesh, client, { CONTRAST_EGRESS_PROXY_CONFIG: `a#${EGRESS}:${port}#${INGRESS}:${port}` });
  const echo = async (): Promise<string> => {
    const socket = connectPlain(EGRESS, port);
    socket.write("hello");
    const [answer] = (await once(socket, "data")) as [Buffer];
    socket.end();
    await readAll(socket);
    return String(answer);
  };
  for (let i = 0; i < 2; i++) expect(await echo()).toBe("hello");
  // Other certificates, other keys of tickets.
  await renew(ingress, mesh, await mesh.issue({ sans: ["server"] }));
  for (let i = 0; i < 3; i++) expect(await echo()).toBe("hello");
});
