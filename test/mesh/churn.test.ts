import { connect as connectTcp } from "node:net";
import { expect, test } from "vitest";
import { createMesh } from "../../pki/test-mesh.ts";
import { bindIngress, connectPlain, connectSecurely, ending, freePort, readAll, startServer } from "../mesh-proxies.ts";
import { ENGINE } from "../ways.ts";
import { openDescriptors, residentMemory } from "./process-state.ts";
import { startProxyProgram } from "./proxy-program.ts";

const PROXY = "127.79.3.1";
const APPLICATION = "127.79.3.2";
const ROUNDS = 60;

test("connections that come and go in all ways leave no descriptor behind", async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const absent = await freePort(APPLICATION);
  const { child } = await startProxyProgram(mesh, workload, {
    ...bindIngress(PROXY, APPLICATION, port, absent),
    CONTRAST_EGRESS_PROXY_CONFIG: `self#127.79.3.3:${port}#${PROXY}:${port}`,
  });
  const pid = child.pid ?? 0;
  const round = async (): Promise<void> => {
    const good = connectSecurely(mesh, workload, { host: PROXY, port });
    good.end("hello");
    const outward = connectPlain("127.79.3.3", port);
    outward.end("hello");
    const garbage = connectPlain(PROXY, port);
    garbage.end("garbage");
    const gone = connectPlain(PROXY, port);
    gone.destroy();
    const broken = connectSecurely(mesh, workload, { host: PROXY, port });
    broken.once("secureConnect", () => broken.destroy());
    const without = connectSecurely(mesh, undefined, { host: PROXY, port });
    const nowhere = connectSecurely(mesh, workload, { host: PROXY, port: absent });
    const ends = Promise.all([garbage, broken, without, nowhere].map(ending));
    expect(String(await readAll(good))).toBe("hello");
    expect(String(await readAll(outward))).toBe("hello");
    await ends;
  };
  // Once, for what is made with the first connection and kept.
  await round();
  let settled = openDescriptors(pid);
  await expect
    .poll(() => {
      const before = settled;
      settled = openDescriptors(pid);
      return settled === before;
    })
    .toBe(true);
  for (let i = 0; i < ROUNDS; i++) await round();
  await expect.poll(() => openDescriptors(pid), { timeout: 10_000 }).toBeLessThanOrEqual(settled);
});

/** The slower engine has fewer. */
const COUNT = ENGINE === "native" ? 10_000 : 2_000;
const WARM_UP = 1_000;
const IN_LINE = 16;
const MIB = 2 ** 20;

test(`${COUNT} connections out of the pod and in again leave nothing behind, and are counted`, async () => {
  const mesh = await createMesh();
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const admin = await freePort("127.0.0.1");
  const { child, log } = await startProxyProgram(mesh, await mesh.issue({ sans: ["server"] }), {
    ...bindIngress(PROXY, APPLICATION, port),
    CONTRAST_EGRESS_PROXY_CONFIG: `self#127.79.3.3:${port}#${PROXY}:${port}#server`,
    CONTRAST_ADMIN_PORT: `${admin}`,
  });
  const pid = child.pid ?? 0;
  const comeAndGo = async (times: number): Promise<void> => {
    let next = 0;
    const line = async (): Promise<void> => {
      while (next++ < times) {
        const socket = connectTcp({ port, host: "127.79.3.3", allowHalfOpen: true });
        socket.end("hello");
        expect(String(await readAll(socket))).toBe("hello");
      }
    };
    await Promise.all(Array.from({ length: IN_LINE }, line));
  };
  await comeAndGo(WARM_UP);
  const [memory, descriptors] = [residentMemory(pid), openDescriptors(pid)];
  await comeAndGo(COUNT - WARM_UP);
  await expect.poll(() => openDescriptors(pid), { timeout: 10_000 }).toBeLessThanOrEqual(descriptors);
  expect(residentMemory(pid) - memory).toBeLessThan(32 * MIB);
  const metrics = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
  const ended = Array.from(
    metrics.matchAll(/^contrast_mesh_connections_total\{.*outcome="(\w+)".*\} (\d+)$/gm),
    ([, outcome, count]) => [outcome, Number(count)] as const,
  );
  const sum = (wanted: string): number =>
    ended.reduce((all, [outcome, count]) => all + (outcome === wanted ? count : 0), 0);
  expect([sum("completed"), sum("refused"), sum("broken")]).toEqual([2 * COUNT, 0, 0]);
  expect(log.filter(({ level }) => level !== "info")).toEqual([]);
}, 120_000);
