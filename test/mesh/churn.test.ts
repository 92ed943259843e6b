import { expect, test } from "vitest";
import { createMesh } from "../../pki/test-mesh.ts";
import { bindIngress, connectPlain, connectSecurely, ending, freePort, readAll, startServer } from "../mesh-proxies.ts";
import { openDescriptors } from "./process-state.ts";
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
