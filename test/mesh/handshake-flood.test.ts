import { expect, test } from "vitest";
import { clientHello } from "../client-hello.ts";
import { createMesh } from "../../pki/test-mesh.ts";
import { bindIngress, connectPlain, connectSecurely, freePort, startServer } from "../mesh-proxies.ts";
import { startProxyProgram } from "./proxy-program.ts";
import { ping } from "./traffic.ts";

const PROXY = "127.79.5.1";
const APPLICATION = "127.79.5.2";
const FLOOD = 600;

test("a flood of handshakes from one address leaves a client of another one served within a second", async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const adminPort = await freePort("127.0.0.1");
  await startProxyProgram(mesh, workload, {
    ...bindIngress(PROXY, APPLICATION, port),
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
