import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import { connectPlain, connectSecurely, ending, readAll, startServer } from "../mesh-proxies.ts";
import { type ProxyProgram, startProxyProgram } from "./proxy-program.ts";
import { ping, startTraffic } from "./traffic.ts";

/** How the proxy ends: nobody new from outside, and time for what has begun. */

const PROXY = "127.77.7.1";
const APPLICATION = "127.77.7.2";
const EGRESS = "127.77.7.3";

let mesh: Mesh;
let workload: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  workload = await mesh.issue();
});

interface Started {
  readonly program: ProxyProgram;
  readonly inward: () => Socket;
  /** Out of the pod, and by way of the ingress of another proxy back to the application. */
  readonly outward: () => Socket;
}

async function start(variables: Readonly<Record<string, string>> = {}): Promise<Started> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const ingress = {
    CONTRAST_INGRESS_PROXY_CONFIG: "",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_TARGET: APPLICATION,
    CONTRAST_INGRESS_PORTS: `${port}`,
  };
  await startProxyProgram(mesh, workload, { ...ingress, CONTRAST_INGRESS_BIND: "127.77.7.4" });
  const program = await startProxyProgram(mesh, workload, {
    ...ingress,
    CONTRAST_INGRESS_BIND: PROXY,
    CONTRAST_EGRESS_PROXY_CONFIG: `other#${EGRESS}:${port}#127.77.7.4:${port}`,
    ...variables,
  });
  return {
    program,
    inward: () => connectSecurely(mesh, workload, { host: PROXY, port }),
    outward: () => connectPlain(EGRESS, port),
  };
}

async function signal({ child, line }: ProxyProgram): Promise<void> {
  child.kill("SIGTERM");
  await line("stopping");
}

test("a proxy without connections ends at once, with 0", async () => {
  const { program } = await start();
  await signal(program);
  expect(await program.exited).toBe(0);
});

test("while it drains nobody new gets in, the application gets out, and what has begun goes on", async () => {
  const { program, inward, outward } = await start();
  const kept = inward();
  await ping(kept);
  await signal(program);
  // A reset, where the kernel had taken the connection before the listener closed.
  expect(await ending(inward())).toMatch(/^(ECONNREFUSED|ECONNRESET)$/);
  const out = outward();
  await ping(out);
  await ping(kept);
  kept.end();
  await readAll(kept);
  // The application's own connections are waited for, too.
  await ping(out);
  out.end();
  await readAll(out);
  expect(await program.exited).toBe(0);
});

test("what has not ended in time is reset, and it ends with 1", async () => {
  const { program, inward } = await start({ CONTRAST_DRAIN_TIMEOUT: "500ms" });
  const kept = inward();
  await ping(kept);
  await signal(program);
  expect(await ending(kept)).toBe("ECONNRESET");
  expect(await program.exited).toBe(1);
  expect(program.log.map(({ code }) => code)).toContain("not_drained");
});

test("who asks twice does not wait", async () => {
  const { program, inward } = await start({ CONTRAST_DRAIN_TIMEOUT: "10m" });
  const kept = inward();
  await ping(kept);
  await signal(program);
  program.child.kill("SIGTERM");
  expect(await ending(kept)).toBe("ECONNRESET");
  expect(await program.exited).toBe(1);
});

test("under load nothing that has begun is lost", async () => {
  const { program, inward } = await start();
  const traffic = startTraffic(4, inward);
  const busy = Array.from({ length: 8 }, inward);
  await Promise.all(busy.map(ping));
  await expect.poll(traffic.done).toBeGreaterThan(20);
  program.child.kill("SIGTERM");
  await program.line("stopping");
  const stopped = traffic.stop();
  for (const socket of busy) {
    await ping(socket);
    socket.end();
    await once(socket, "end");
  }
  await stopped;
  expect(await program.exited).toBe(0);
  // Those that came too late found nobody, or were in the queue that the kernel cleared.
  expect(traffic.faults.filter((fault) => fault !== "ECONNREFUSED" && fault !== "ECONNRESET")).toEqual([]);
});

test("those that carry much while it drains lose none of it, in either direction", async () => {
  const { program, inward, outward } = await start();
  const bytes = randomBytes(6_000_000);
  const sockets = [inward, inward, inward, outward, outward].map((connect) => connect());
  const answers = sockets.map(async (socket) => readAll(socket));
  for (const socket of sockets) socket.write(bytes);
  await sleep(100);
  await signal(program);
  for (const socket of sockets) socket.end(bytes);
  const sent = Buffer.concat([bytes, bytes]);
  for (const answer of await Promise.all(answers)) expect(answer.equals(sent)).toBe(true);
  expect(await program.exited).toBe(0);
});
