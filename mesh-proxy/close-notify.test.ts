import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../pki/test-mesh.ts";
import { connectPlain, connectSecurely, ending, freePort, startProxy, startServer } from "../test/mesh-proxies.ts";

const PROXY = "127.77.0.1";
const APPLICATION = "127.77.0.2";
const NETWORK = "127.77.0.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

/** A network in the hands of an attacker: it carries all bytes, and ends both connections with a FIN when told to. */
async function startNetwork(to: { host: string; port: number }): Promise<{ port: number; cut: () => void }> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (downstream) => {
    const upstream = connect({ ...to, allowHalfOpen: true });
    downstream.pipe(upstream);
    upstream.pipe(downstream);
    for (const socket of [downstream, upstream]) sockets.push(socket.on("error", () => {}));
  });
  server.listen(0, NETWORK);
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, cut: () => sockets.forEach((socket) => socket.end()) };
}

/** An application that says how its connections end and what it had got by then. */
async function startApplication(): Promise<{ port: number; received: () => number; end: Promise<string> }> {
  const end = Promise.withResolvers<string>();
  let received = 0;
  const port = await startServer(APPLICATION, (socket) => {
    socket.on("data", ({ length }) => (received += length));
    void ending(socket).then(end.resolve);
  });
  return { port, received: () => received, end: end.promise };
}

async function startIngress(port: number): Promise<void> {
  await startProxy(mesh, workload, {
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: String(port),
  });
}

test.each([10, 5_000_000])(
  "a client's direction that is cut after %i bytes is a reset for the application",
  async (size) => {
    const application = await startApplication();
    await startIngress(application.port);
    const network = await startNetwork({ host: PROXY, port: application.port });
    const client = connectSecurely(mesh, workload, { host: NETWORK, port: network.port });
    client.write(Buffer.alloc(size));
    await expect.poll(application.received, { timeout: 10_000 }).toBe(size);
    network.cut();
    expect(await application.end).toBe("ECONNRESET");
  },
);

test.each([10, 5_000_000])("a client's direction that it ends after %i bytes is a clean end", async (size) => {
  const application = await startApplication();
  await startIngress(application.port);
  const client = connectSecurely(mesh, workload, { host: PROXY, port: application.port });
  client.end(Buffer.alloc(size));
  expect(await application.end).toBe("clean");
  expect(application.received()).toBe(size);
});

test("an upstream's answer that is cut is a reset for the application", async () => {
  const port = await startServer(APPLICATION, (socket) => {
    socket.resume();
    socket.write("half an answer");
  });
  await startIngress(port);
  const network = await startNetwork({ host: PROXY, port });
  const listener = await freePort(PROXY);
  await startProxy(mesh, workload, {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${PROXY}:${listener}#${NETWORK}:${network.port}`,
  });
  const client = connectPlain(PROXY, listener);
  await once(client, "data");
  network.cut();
  expect(await ending(client)).toBe("ECONNRESET");
});
