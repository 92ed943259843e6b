import { expect, test } from "vitest";
import { connectSecurely, refusals } from "../mesh-proxies.ts";
import { renew, startThroughMesh } from "./through-mesh.ts";
import { ping, startTraffic } from "./traffic.ts";
import { once } from "node:events";

const SUBNET = "127.77.5";

/** `LONG_TESTS=true npx vitest run test/mesh/reload-under-load.test.ts` takes a minute and more. */
const CHANGES = process.env["LONG_TESTS"] === "true" ? 1_000 : 50;

test("certificates change under load, and no connection fails", async () => {
  const { mesh, egress, ingress, connect } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => void socket.pipe(socket),
  });
  const kept = connect();
  await ping(kept);
  const traffic = startTraffic(4, connect);
  for (let round = 0; round < 10; round++) {
    const before = traffic.done();
    await renew(ingress, mesh, await mesh.issue({ sans: ["server", `round-${round}`] }));
    await renew(egress, mesh, await mesh.issue({ sans: ["client"] }));
    await expect.poll(traffic.done).toBeGreaterThan(before + 8);
  }
  await traffic.stop();
  expect(traffic.faults).toEqual([]);
  // A connection of before has seen all of it.
  await ping(kept);
  expect(refusals(ingress.lines)).toEqual([]);
  expect(refusals(egress.lines)).toEqual([]);
});

test(`after ${CHANGES} changes under load no connection has failed, and the last set is in use`, async () => {
  const { mesh, client, ingress, port, connect } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => void socket.pipe(socket),
  });
  const sets = [await mesh.issue({ sans: ["server", "one"] }), await mesh.issue({ sans: ["server", "other"] })];
  const traffic = startTraffic(4, connect);
  for (let change = 0; change < CHANGES; change++) {
    const [set] = change % 2 === 0 ? sets : sets.toReversed();
    if (set !== undefined) await renew(ingress, mesh, set);
  }
  await traffic.stop();
  expect(traffic.faults).toEqual([]);
  expect(traffic.done()).toBeGreaterThan(20);
  expect(refusals(ingress.lines)).toEqual([]);
  const socket = connectSecurely(mesh, client, { host: `${SUBNET}.2`, port });
  await once(socket, "secureConnect");
  expect(socket.getPeerX509Certificate()?.subjectAltName).toBe("DNS:server, DNS:other");
}, 180_000);

test("a connection that is made after a change sees the new certificate", async () => {
  const { mesh, client, ingress, port } = await startThroughMesh({
    subnet: SUBNET,
    application: (socket) => void socket.pipe(socket),
  });
  await renew(ingress, mesh, await mesh.issue({ sans: ["new"] }));
  const socket = connectSecurely(mesh, client, { host: `${SUBNET}.2`, port });
  await once(socket, "secureConnect");
  expect(socket.getPeerX509Certificate()?.subjectAltName).toBe("DNS:new");
});
