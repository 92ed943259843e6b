import { afterAll, beforeAll, expect, test } from "vitest";
import { describeOnCluster } from "./cluster.ts";
import { deploy, Shell } from "./deployment.ts";
import { container, httpServer, workload } from "./resources.ts";

/** The kubelet's probes of every kind, at every kind of port: plain, TLS without a certificate, mutual TLS. */

/** A server of HTTP/2 that answers every call as a healthy server of grpc.health.v1 does. */
const GRPC = `require("node:http2").createServer().on("stream", (stream) => {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1]));
}).listen(8082); process.once("SIGTERM", () => process.exit(0))`;

const probe = (kind: object): object => ({
  readinessProbe: { ...kind, periodSeconds: 1, timeoutSeconds: 5 },
  livenessProbe: { ...kind, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 1000 },
});
const IDLE = "setInterval(() => {}, 2 ** 30); process.once('SIGTERM', () => process.exit(0))";

/** By name: a container that is probed, and whether it gets ready. */
const CONTAINERS = {
  "http-true": [httpServer(8080), { httpGet: { path: "/", port: 8080 } }, true],
  "tcp-true": [IDLE, { tcpSocket: { port: 8080 } }, true],
  "grpc-true": [GRPC, { grpc: { port: 8082 } }, true],
  "https-false": [httpServer(8443), { httpGet: { path: "/", port: 8443, scheme: "HTTPS" } }, true],
  "tcp-false": [IDLE, { tcpSocket: { port: 8443 } }, true],
  "http-false": [IDLE, { httpGet: { path: "/", port: 8443 } }, false],
  "exec-strict": [httpServer(8081), { exec: { command: ["node", "-e", "fetch('http://127.0.0.1:8081')"] } }, true],
  "tcp-strict": [IDLE, { tcpSocket: { port: 8081 } }, true],
  "https-strict": [IDLE, { httpGet: { path: "/", port: 8081, scheme: "HTTPS" } }, false],
} as const;

interface Statuses {
  readonly status: { readonly containerStatuses: readonly { name: string; ready: boolean }[] };
}

describeOnCluster("probes", () => {
  let shell: Shell;
  let warnings: string;

  beforeAll(async () => {
    shell = await Shell.open("probes");
    const containers = Object.entries(CONTAINERS).map(([name, [script, kind]]) => container(name, script, probe(kind)));
    const annotations = { "servicemesh-ingress": "plain#8080#true##grpc#8082#true##tls#8443#false" };
    await deploy(shell, [workload("probed", { script: IDLE, annotations, pod: { containers } })]);
    warnings = await shell.run(
      `contrast generate --reference-values simulated --image-replacements $RELEASE/image-replacements.txt deployment/ 2>&1`,
    );
  });

  afterAll(async () => shell.close());

  test("those that the documentation calls possible succeed, and no other", async () => {
    const wanted = Object.entries(CONTAINERS).map(([name, [, , ready]]) => [name, ready]);
    const ready = async (): Promise<Record<string, boolean>> => {
      const { items } = JSON.parse(await shell.kubectl("get", "pods", "-l", "app=probed", "-o", "json")) as {
        items: Statuses[];
      };
      return Object.fromEntries(
        items.flatMap(({ status }) => status.containerStatuses).map((it) => [it.name, it.ready]),
      );
    };
    await expect.poll(ready, { timeout: 90_000, interval: 1000 }).toEqual(Object.fromEntries(wanted));
    // They stay so.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    expect(await ready()).toEqual(Object.fromEntries(wanted));
  });

  test("generate warns of those that can't succeed", () => {
    for (const [index, [, , ready]] of Object.values(CONTAINERS).entries()) {
      if (!ready) expect(warnings).toContain(`containers[${index}].readinessProbe`);
    }
  });

  test("of refused probes there is a warning for each kind, and one that counts those that follow", async () => {
    const log = await shell.run("kubectl logs deployment/probed -c contrast-mesh-proxy");
    const loud = log.split("\n").filter((line) => /"level":"(warn|error|fatal)"|\b(WARN|ERROR|FATAL)\b/.test(line));
    expect(loud.length, loud.slice(0, 5).join("\n")).toBeLessThanOrEqual(4);
    expect(log).toContain("more connections refused for the same reason");
  });
});
