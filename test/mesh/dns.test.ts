import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { createServer } from "node:tls";
import { expect, test } from "vitest";
import { createMesh } from "../../pki/test-mesh.ts";
import { connectPlain, ending, freePort, startLiveProxy, startServer } from "../mesh-proxies.ts";

const PROXY = "127.77.16.1";
const BEFORE = "127.77.16.2";
const AFTER = "127.77.16.3";

test("an upstream that moves is found at once, and while DNS fails where it was last", async () => {
  const mesh = await createMesh();
  const { certChain: cert, key } = await mesh.issue();
  // One server on all addresses, which says at which one it was called.
  const server = createServer({ cert, key, ca: mesh.meshCa, requestCert: true });
  const port = await startServer("0.0.0.0", (socket) => void socket.end(socket.localAddress ?? ""), server);
  let now = new Date(0);
  let answer: LookupAddress[] | Error = [{ address: BEFORE, family: 4 }];
  const lookup = async (): Promise<LookupAddress[]> => {
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const listener = await freePort(PROXY);
  const rule = { CONTRAST_EGRESS_PROXY_CONFIG: `db#${PROXY}:${listener}#db:${port}` };
  await startLiveProxy(mesh, await mesh.issue(), rule, { lookup, now: () => now });
  const served = async (): Promise<string> => {
    const [address] = (await once(connectPlain(PROXY, listener), "data")) as [Buffer];
    return String(address);
  };
  expect(await served()).toBe(BEFORE);
  answer = [{ address: AFTER, family: 4 }];
  expect(await served()).toBe(AFTER);
  answer = Object.assign(new Error("no answer"), { code: "EAI_AGAIN" });
  now = new Date(60_000);
  expect(await served()).toBe(AFTER);
  now = new Date(60_001);
  expect(await ending(connectPlain(PROXY, listener))).toBe("ECONNRESET");
});
