import { once } from "node:events";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { createMesh } from "../../pki/test-mesh.ts";
import { bindIngress, connectPlain, connectSecurely, startLiveProxy, startServer } from "../mesh-proxies.ts";
import { ping } from "./traffic.ts";

const PROXY = "127.79.4.1";
const APPLICATION = "127.79.4.2";
const STORM = 50;

test("clients that reset at every stage at once leave nothing open, and a good connection goes on", async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const { telemetry } = await startLiveProxy(mesh, workload, { ...bindIngress(PROXY, APPLICATION, port) });
  const good = connectSecurely(mesh, workload, { host: PROXY, port });
  await ping(good);

  const tcp = (): Socket => connectPlain(PROXY, port);
  /** TLS on a connection that can be reset. */
  const secure = async (): Promise<{ transport: Socket; stream: Socket }> => {
    const transport = tcp();
    const stream = connectSecurely(mesh, workload, { socket: transport });
    await once(stream, "secureConnect");
    return { transport, stream };
  };
  const stages: readonly (() => Promise<Socket>)[] = [
    async () => {
      const socket = tcp();
      await once(socket, "connect");
      return socket;
    },
    async () => {
      const socket = tcp();
      // The first bytes of a ClientHello.
      socket.write(Buffer.from("1603010200010001fc0303", "hex"));
      await once(socket, "connect");
      return socket;
    },
    async () => (await secure()).transport,
    async () => {
      const { transport, stream } = await secure();
      await ping(stream);
      return transport;
    },
    async () => {
      const { transport, stream } = await secure();
      stream.write(Buffer.alloc(1_000_000));
      await once(stream, "data");
      return transport;
    },
  ];
  const sockets = await Promise.all(stages.flatMap((stage) => Array.from({ length: STORM }, stage)));
  for (const socket of sockets) socket.resetAndDestroy();
  await ping(good);
  const counts = telemetry.metrics.rule("ingress", "(none)");
  await expect.poll(() => counts.open, { timeout: 10_000 }).toBe(1);
  expect(telemetry.admission.ingress.inside).toBe(1);
  expect(telemetry.admission.handshakes.inside).toBe(0);
  expect(counts.ended.refused + counts.ended.broken).toBe(stages.length * STORM);
});
