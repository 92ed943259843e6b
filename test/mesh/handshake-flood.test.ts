import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { connect } from "node:tls";
import { expect, test } from "vitest";
import { createMesh } from "../mesh-certificates.ts";
import { connectPlain, connectSecurely, freePort, startServer } from "../mesh-proxies.ts";
import { startProxyProgram } from "./proxy-program.ts";
import { ping } from "./traffic.ts";

const PROXY = "127.79.5.1";
const APPLICATION = "127.79.5.2";
const FLOOD = 600;

/** What a client says first. The server answers it with all the work of a handshake. */
async function clientHello(): Promise<Buffer> {
  const server = createServer().listen(0, APPLICATION);
  await once(server, "listening");
  const client = connect({ host: APPLICATION, port: (server.address() as AddressInfo).port });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  server.close();
  return hello;
}

test("a flood of handshakes from one address leaves a client of another one served within a second", async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const adminPort = await freePort("127.0.0.1");
  await startProxyProgram(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${port}`,
    CONTRAST_ADMIN_PORT: `${adminPort}`,
  });
  const hello = await clientHello();
  let begun = 0;
  // A connection that ends is followed by the next one; most say hello, others say nothing.
  const flood = (): void => {
    if (begun === FLOOD * 3) return;
    const socket = connectPlain(PROXY, port, "127.79.5.3");
    if (begun++ % 4 > 0) socket.write(hello);
    socket.on("close", flood);
  };
  for (let i = 0; i < FLOOD; i++) flood();
  const waiting = async (): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
    return Number(/^contrast_mesh_handshakes_waiting (\d+)$/m.exec(text)?.[1]);
  };
  await expect.poll(waiting, { timeout: 10_000 }).toBeGreaterThan(FLOOD / 2);
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    await ping(connectSecurely(mesh, workload, { host: PROXY, port, localAddress: "127.79.5.4" }));
    expect(performance.now() - start).toBeLessThan(1_000);
  }
  expect(await waiting()).toBeGreaterThan(0);
});
