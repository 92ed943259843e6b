import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { startThroughMesh } from "./through-mesh.ts";
import { ping } from "./traffic.ts";

/** Connections on which nothing is said. */

const SUBNET = "127.77.11";

interface Timer {
  readonly from: string;
  readonly to: string;
  /** 2: keepalive (proc_pid_net_tcp(5)). */
  readonly kind: number;
  readonly seconds: number;
}

/** The kernel's timers of the connections that have this port at one of their ends. */
function timers(port: number): Timer[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  const address = (hex = ""): string =>
    (hex.match(/../g) ?? [])
      .map((byte) => parseInt(byte, 16))
      .reverse()
      .join(".");
  return readFileSync("/proc/self/net/tcp", "latin1")
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === "01")
    .filter(([, local, remote]) => [local, remote].some((end) => end?.endsWith(`:${wanted}`)))
    .map(([, local, remote, , , timer]) => {
      const [kind, ticks = "0"] = timer?.split(":") ?? [];
      const seconds = parseInt(ticks, 16) / 100;
      return { from: address(local?.split(":")[0]), to: address(remote?.split(":")[0]), kind: Number(kind), seconds };
    });
}

test("the kernel asks after a silent peer within a minute, on both legs of both proxies", async () => {
  const { connect, port } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => void socket.pipe(socket),
  });
  await ping(connect());
  const ofProxies = (): Timer[] => timers(port).filter(({ kind }) => kind === 2);
  // Accepted from the client and from the other proxy; dialed to that one and to the application.
  const accepted = [`${SUBNET}.1`, `${SUBNET}.2`];
  const dialed = [`${SUBNET}.2`, `${SUBNET}.3`];
  await expect.poll(() => accepted.every((from) => ofProxies().some((timer) => timer.from === from))).toBe(true);
  await expect.poll(() => dialed.every((to) => ofProxies().some((timer) => timer.to === to))).toBe(true);
  for (const { seconds } of ofProxies()) {
    expect(seconds).toBeGreaterThan(50);
    expect(seconds).toBeLessThanOrEqual(60);
  }
});

test("a connection that stands costs no timer, and so none that ends it", async () => {
  const { connect } = await startThroughMesh({ subnet: SUBNET, application: (socket) => void socket.pipe(socket) });
  const count = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
  await ping(connect());
  const before = count();
  for (let i = 0; i < 5; i++) await ping(connect());
  await expect.poll(count).toBeLessThanOrEqual(before);
});
