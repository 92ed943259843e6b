import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { refusals } from "../mesh-proxies.ts";
import { startThroughMesh } from "./through-mesh.ts";
import { ping, startTraffic } from "./traffic.ts";

test("certificates that are broken under load change nothing, and are counted", async () => {
  const { ingress, connect } = await startThroughMesh({
    subnet: "127.77.6",
    application: (socket) => void socket.pipe(socket),
  });
  const kept = connect();
  await ping(kept);
  const traffic = startTraffic(4, connect);
  await writeFile(join(ingress.folder, "key.pem"), "not a key");
  await ingress.credentials.reload();
  const before = traffic.done();
  await expect.poll(traffic.done, { timeout: 10_000 }).toBeGreaterThan(before + 20);
  await traffic.stop();
  expect(traffic.faults).toEqual([]);
  await ping(kept);
  expect(ingress.credentials.failures).toBe(1);
  await expect
    .poll(() => refusals(ingress.lines))
    .toMatchObject([
      { code: "certificates", where: join(ingress.folder, "key.pem"), got: "no private key that can be read" },
    ]);
});
