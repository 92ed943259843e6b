import { once } from "node:events";
import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectSecurely,
  ending,
  readAll,
  refusals,
  startLiveProxy,
  startServer,
} from "../mesh-proxies.ts";

/** Which workloads of the mesh may connect to a port. */

const PROXY = "127.77.2.1";
const APPLICATION = "127.77.2.2";

let mesh: Mesh;

beforeAll(async () => {
  mesh = await createMesh();
});

/** An application on two ports, the first of which has an entry with these names. */
async function start(
  names: string,
): Promise<{ port: number; free: number; codes: () => unknown[]; seen: () => number }> {
  let seen = 0;
  const port = await startServer(APPLICATION, (socket) => {
    seen++;
    socket.pipe(socket);
  });
  const free = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const { lines } = await startLiveProxy(mesh, await mesh.issue(), {
    ...bindIngress(PROXY, APPLICATION, port, free),
    CONTRAST_INGRESS_ALLOW: `${port}=${names}`,
  });
  return { port, free, codes: () => refusals(lines).map(({ code }) => code), seen: () => seen };
}

async function visit(port: number, sans: readonly string[]): Promise<string> {
  const socket = connectSecurely(mesh, await mesh.issue({ sans }), { host: PROXY, port });
  socket.end("hello");
  return String(await readAll(socket));
}

test.each([
  ["web,vote-bot", ["vote-bot", "*"]],
  ["spiffe://mesh/web", ["spiffe://mesh/web"]],
  ["203.0.113.34", ["203.0.113.34"]],
])("the names %s let in a workload with the names %j", async (names, sans) => {
  const { port } = await start(names);
  expect(await visit(port, sans)).toBe("hello");
});

test.each([
  ["web,vote-bot", ["db"]],
  ["web,vote-bot", ["db", "*"]],
  ["spiffe://mesh/web", ["web"]],
  ["web", ["web.example"]],
])("the names %s keep out a workload with the names %j, and the application never hears of it", async (names, sans) => {
  const { port, codes, seen } = await start(names);
  const socket = connectSecurely(mesh, await mesh.issue({ sans }), { host: PROXY, port });
  await once(socket, "secureConnect");
  socket.write("hello");
  expect(await ending(socket)).toBe("ECONNRESET");
  expect(codes()).toEqual(["client_identity"]);
  expect(seen()).toBe(0);
});

test("a port without an entry is open to the whole mesh", async () => {
  const { free } = await start("web");
  expect(await visit(free, ["db"])).toBe("hello");
});
