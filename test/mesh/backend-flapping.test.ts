import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { connectPlain, ending, refusals } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";
import { ping } from "./traffic.ts";
import { connect as connectTcp } from "node:net";

const SUBNET = "127.77.12";
const BACKEND = "127.77.12.4";

test("an application that comes and goes is there when it is there, and a reset when it is not", async () => {
  const backend = createServer((socket) => void socket.pipe(socket).on("error", () => {}));
  const sockets = new Set<Socket>();
  backend.on("connection", (socket) => sockets.add(socket));
  const start = async (server: Server, port: number): Promise<number> => {
    server.listen(port, BACKEND);
    await once(server, "listening");
    return (server.address() as { port: number }).port;
  };
  const stop = async (): Promise<void> => {
    backend.close();
    for (const socket of sockets) socket.resetAndDestroy();
    await once(backend, "close");
  };
  onTestFinished(() => void backend.close());
  const flapping = await start(backend, 0);
  // The application that the ingress dials passes on what the flapping one does.
  const { connect, port, ingress, egress } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => {
      const far = connectTcp({ host: BACKEND, port: flapping });
      far.on("error", () => socket.resetAndDestroy());
      socket.on("error", () => far.destroy());
      socket.pipe(far).pipe(socket);
    },
  });
  for (let round = 0; round < 10; round++) {
    const open = connect();
    await ping(open);
    const cut = ending(open);
    await stop();
    expect(await cut).toBe("ECONNRESET");
    const early = connectPlain(`${SUBNET}.1`, port);
    early.write("ping");
    expect(await ending(early)).toBe("ECONNRESET");
    await start(backend, flapping);
  }
  await ping(connect());
  const codes = new Set(refusals([...ingress.lines, ...egress.lines]).map(({ code }) => code));
  expect([...codes]).toEqual(["connection_broken"]);
});
