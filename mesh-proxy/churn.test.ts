import { once } from "node:events";
import { readdirSync } from "node:fs";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { createMesh } from "../pki/test-mesh.ts";
import { bindIngress, connectPlain, ending, startProxy, startServer } from "../test/mesh-proxies.ts";

/** Both proxies, the application and the clients are in this process: all descriptors are its own. */

const EGRESS = "127.78.60.1";
const INGRESS = "127.78.60.2";
const APPLICATION = "127.78.60.3";

async function startMesh(application: (socket: Socket) => void): Promise<number> {
  const mesh = await createMesh();
  const port = await startServer(APPLICATION, application);
  await startProxy(mesh, await mesh.issue({ sans: ["server"] }), { ...bindIngress(INGRESS, APPLICATION, port) });
  await startProxy(mesh, await mesh.issue({ sans: ["client"] }), {
    CONTRAST_EGRESS_PROXY_CONFIG: `app#${EGRESS}:${port}#${INGRESS}:${port}#server`,
  });
  return port;
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;

async function echo(port: number, text: string): Promise<Socket> {
  const socket = connectPlain(EGRESS, port);
  socket.write(text);
  expect(String(((await once(socket, "data")) as [Buffer])[0])).toBe(text);
  return socket;
}

async function inLines(lines: number, times: number, act: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const line = async (): Promise<void> => {
    while (next < times) await act(next++);
  };
  await Promise.all(Array.from({ length: lines }, line));
}

test("connections that come and go leave no descriptor behind", async () => {
  const port = await startMesh((socket) => void socket.pipe(socket));
  const first = await echo(port, "first");
  first.end();
  await ending(first);
  await expect.poll(descriptors).toBeLessThan(200);
  const before = descriptors();
  await inLines(8, 200, async (index) => {
    const socket = await echo(port, `connection ${index}`);
    socket.end();
    await ending(socket);
  });
  await expect.poll(descriptors, { timeout: 10_000 }).toBeLessThanOrEqual(before);
});

test("a storm of resets, at every point of a connection's life, leaves no descriptor behind and nobody unserved", async () => {
  const port = await startMesh((socket) => {
    let count = 0;
    socket.on("data", (chunk) => {
      // Every third connection is reset by the application, in the middle of its answer.
      if (String(chunk).startsWith("bulk") && count++ === 0) socket.write(Buffer.alloc(1_000_000));
      if (String(chunk).startsWith("reset")) socket.resetAndDestroy();
      else socket.write(chunk);
    });
    socket.on("end", () => socket.end());
  });
  const witness = await echo(port, "witness");
  const before = descriptors();
  await inLines(8, 200, async (index) => {
    const socket = connectPlain(EGRESS, port);
    if (index % 4 > 0) await once(socket, "connect");
    if (index % 4 > 1) socket.write(index % 3 === 0 ? "reset" : "bulk");
    if (index % 4 > 2) await Promise.race([once(socket, "data").catch(() => {}), ending(socket)]);
    if (socket.connecting) socket.destroy();
    else socket.resetAndDestroy();
  });
  witness.write("still there");
  expect(String(((await once(witness, "data")) as [Buffer])[0])).toBe("still there");
  await expect.poll(descriptors, { timeout: 15_000 }).toBeLessThanOrEqual(before);
  await echo(port, "served");
});
