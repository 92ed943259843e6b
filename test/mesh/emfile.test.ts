import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { processStat } from "../../runtime/process-stat.ts";
import { createMesh } from "../../pki/test-mesh.ts";
import { connectPlain, readAll, startServer } from "../mesh-proxies.ts";
import { startProxyProgram } from "./proxy-program.ts";
import { ping } from "./traffic.ts";

const PROXY = "127.77.8.1";
const APPLICATION = "127.77.8.2";
const FILES = 200;
const CONNECTIONS = 150;

/** The processor time of a process, in hundredths of a second. */
const cpu = (pid: number): number => processStat(pid)?.ticks ?? NaN;

test("without file descriptors connections wait, none is lost, and they are served when there are some again", async () => {
  const mesh = await createMesh();
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const variables = {
    CONTRAST_INGRESS_PROXY_CONFIG: `app#${port}#true`,
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_INGRESS_TARGET: APPLICATION,
    // More than there are descriptors for.
    CONTRAST_MAX_INGRESS_CONNECTIONS: "1000",
    CONTRAST_MAX_INGRESS_CONNECTIONS_PER_SOURCE: "1000",
  };
  const limit = ["bash", "-c", `ulimit -n ${FILES}; exec "$@"`, "-"];
  const program = await startProxyProgram(mesh, await mesh.issue(), variables, limit);
  const sockets: Socket[] = [];
  const served = new Set<Socket>();
  for (let i = 0; i < CONNECTIONS; i++) {
    const socket = connectPlain(PROXY, port);
    sockets.push(socket);
    void ping(socket).then(
      () => served.add(socket),
      () => {},
    );
    await once(socket, "connect");
  }
  const waiting = await program.line("no file descriptors");
  expect(waiting).toMatchObject({ level: "warn", code: "descriptors" });
  await expect.poll(() => served.size).toBeGreaterThan(FILES / 4);
  // It does nothing but wait.
  const before = cpu(program.child.pid ?? 0);
  await sleep(1_000);
  expect(cpu(program.child.pid ?? 0) - before).toBeLessThan(20);
  expect(served.size).toBeLessThan(CONNECTIONS);

  for (const socket of sockets) {
    await expect.poll(() => served.has(socket), { timeout: 10_000 }).toBe(true);
    socket.end();
    expect(await readAll(socket)).toHaveLength(0);
  }
  const codes = program.log.map(({ code }) => code).filter((code) => code !== undefined);
  expect(codes).toEqual(["descriptors"]);
});
