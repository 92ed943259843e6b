import { expect, onTestFinished, test, vi } from "vitest";
import { DEADLINE_MS } from "../../mesh-proxy/limits/numbers.ts";
import { createMesh } from "../../pki/test-mesh.ts";
import { connectPlain, ending, refusals, startLiveProxy, startServer } from "../mesh-proxies.ts";
import { ENGINE } from "../ways.ts";
import { blackHole } from "./black-hole.ts";
import { once } from "node:events";

const PROXY = "127.77.63.1";
const LOST = "127.77.63.2";
const ALIVE = "127.77.63.3";

test("a connection to a peer that is lost is a reset after the deadline, and others are served meanwhile", async () => {
  const mesh = await createMesh();
  const workload = await mesh.issue();
  const lost = await blackHole(LOST);
  const alive = await startServer(ALIVE, (socket) => void socket.pipe(socket));
  const isNative = ENGINE === "native";
  if (!isNative) vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const { lines } = await startLiveProxy(
    mesh,
    workload,
    {
      CONTRAST_EGRESS_PROXY_CONFIG: `lost#${PROXY}:${lost}#${LOST}:${lost}`,
      CONTRAST_INGRESS_PROXY_CONFIG: `alive#${alive}#true`,
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: PROXY,
      CONTRAST_INGRESS_TARGET: ALIVE,
    },
    { upstreamMs: 3_000 },
  );
  const waiting = connectPlain(PROXY, lost);
  waiting.write("hello");
  const end = ending(waiting);
  if (!isNative) await vi.waitUntil(() => vi.getTimerCount() > 0);
  const served = connectPlain(PROXY, alive);
  served.write("hello");
  await once(served, "data");
  expect(lines).toEqual([]);
  if (!isNative) await vi.advanceTimersByTimeAsync(DEADLINE_MS);
  expect(await end).toBe("ECONNRESET");
  await expect.poll(() => refusals(lines)).toMatchObject([{ code: "upstream_timeout", where: `${LOST}:${lost}` }]);
});
