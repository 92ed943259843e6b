import { beforeAll, expect, test } from "vitest";
import { createServer } from "node:tls";
import { createMesh, type Mesh, type Workload } from "../../pki/test-mesh.ts";
import {
  bindIngress,
  connectPlain,
  connectSecurely,
  ending,
  readAll,
  refusals,
  startLiveProxy,
  type StartedProxy,
  startServer,
} from "../mesh-proxies.ts";

const PROXY = "127.77.64.1";
const APPLICATION = "127.77.64.2";

let mesh: Mesh;
let good: Workload;
/** Longer than the 100 KiB that OpenSSL reads of a chain at most (SSL_CTX_set_max_cert_list(3)). */
let tooLong: Workload;

beforeAll(async () => {
  mesh = await createMesh();
  good = await mesh.issue();
  const { certChain, key } = await mesh.issue();
  tooLong = { certChain: certChain + good.certChain.repeat(150), key };
});

async function startIngress(): Promise<StartedProxy & { readonly port: number }> {
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket));
  const proxy = await startLiveProxy(mesh, good, { ...bindIngress(PROXY, APPLICATION, port) });
  return { ...proxy, port };
}

test("a client whose chain is too long is refused, and others are served", async () => {
  const { port, lines } = await startIngress();
  const socket = connectSecurely(mesh, tooLong, { host: PROXY, port });
  expect(await ending(socket)).not.toBe("clean");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_too_large" }]);
  const other = connectSecurely(mesh, good, { host: PROXY, port });
  other.end("hello");
  expect(String(await readAll(other))).toBe("hello");
});

test("a client whose certificate was issued by another workload is refused", async () => {
  const { port, lines } = await startIngress();
  const socket = connectSecurely(mesh, await mesh.issueBy(good), { host: PROXY, port });
  socket.write("hello");
  expect(await ending(socket)).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "client_certificate_untrusted" }]);
});

test("an upstream whose chain is too long is refused with a reset", async () => {
  const { certChain: cert, key } = tooLong;
  const port = await startServer(APPLICATION, (socket) => void socket.pipe(socket), createServer({ cert, key }));
  const rule = { CONTRAST_EGRESS_PROXY_CONFIG: `a#${PROXY}:${port}#${APPLICATION}:${port}` };
  const { lines } = await startLiveProxy(mesh, good, rule);
  expect(await ending(connectPlain(PROXY, port))).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "handshake_too_large" }]);
});
