import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inNamespace, onClient } from "../../cluster/commands.ts";
import { CLIENT } from "../../cluster/layout.ts";
import { describeOnCluster } from "./cluster.ts";
import { deploy, Shell } from "./deployment.ts";
import { httpServer, service, workload } from "./resources.ts";

/** A sidecar as `generate` makes it, with the memory limit that it has, and more clients than it has places for. */

const CLIENTS = 7_000;
/** Of the client's machine, so that none is over its share. */
const SOURCES = Array.from({ length: 64 }, (_, index) => `10.250.0.${index + 100}`);
const LIMIT = 5_888;

describeOnCluster("idle connections", () => {
  let shell: Shell;

  beforeAll(async () => {
    shell = await Shell.open("idle");
    const annotations = { "servicemesh-ingress": "server#8443#false" };
    const server = workload("server", { script: httpServer(8443), annotations });
    await deploy(shell, [
      server,
      service("server", { 443: 8443 }, { type: "LoadBalancer", externalTrafficPolicy: "Local" }),
    ]);
    await shell.run("kubectl rollout status deployment/server --timeout=120s");
    for (const source of SOURCES) await onClient("ip", "address", "add", `${source}/24`, "dev", "ext0");
  });

  afterAll(async () => {
    for (const source of SOURCES) await onClient("ip", "address", "delete", `${source}/24`, "dev", "ext0");
    await shell.close();
  });

  test("are carried by the native engine", async () => {
    const log = await shell.run("kubectl logs deployment/server -c contrast-mesh-proxy");
    expect(log).toMatch(/"engine":"native".*"msg":"ready"/);
  });

  test("fill the places of a mesh proxy, and it lives within its limit", async () => {
    const address = await shell.run("kubectl get svc server -o=jsonpath='{.status.loadBalancer.ingress[0].ip}'");
    const ca = join(shell.folder, "verify", "mesh-ca.pem");
    const program = [process.execPath, join(import.meta.dirname, "idler.ts")];
    const args = [address, "443", "server", ca, `${CLIENTS}`, ...SOURCES];
    const idler = spawn(...inNamespace(CLIENT.namespace, [...program, ...args]), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      const [text] = (await once(idler.stdout, "data")) as [Buffer];
      const { open } = JSON.parse(String(text)) as { open: number };
      expect(open).toBeGreaterThan(LIMIT * 0.8);
      await sleep(10_000);
      const proxy = `{.items[0].status.initContainerStatuses[?(@.name=="contrast-mesh-proxy")]}`;
      const status = await shell.run(`kubectl get pods -l app=server -o jsonpath='${proxy}'`);
      expect(JSON.parse(status)).toMatchObject({ restartCount: 0, ready: true });
    } finally {
      idler.kill("SIGTERM");
    }
    const curl = `curl -sS -m 5 --cacert verify/mesh-ca.pem --connect-to server:443:${address}:443 https://server`;
    await expect.poll(async () => shell.run(curl).catch(String), { timeout: 60_000 }).toBe("hello");
  });
});
